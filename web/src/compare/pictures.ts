// Pictures and pages: two viewers that look at the same place of one world, in which both versions lie so that what
// both show lies at the same spot, also when one is a crop of the other.
import OpenSeadragon from "openseadragon";
import { get, media, pagesOf, root, tilesOf } from "../shared/api";
import { still, viewerIn } from "../shared/deepzoom";
import { one, onKey, press, say } from "./stage";
import type { Box, Pixels, Side, Told } from "./told";

type Place = { x: number; y: number; width: number };
type Name = "from" | "to";

export async function pictures(stage: HTMLElement, told: Told): Promise<void> {
  const names: Name[] = ["from", "to"];
  const pages = Math.max(1, ...names.map((name) => pagesOf(told[name])));
  if (names.some((name) => !told[name].recipes.includes("preview"))) {
    one(document, "#pixels").replaceChildren(line("One of them has no preview."));
    return;
  }
  const pair = new Pair(viewer(stage, "from", told.from), viewer(stage, "to", told.to));
  let pixels: Pixels | null = null;
  let page = 0;
  const mark = regions(pair);

  const show = async (): Promise<void> => {
    mark([], 1);
    for (const name of names) pair[name].world.removeAll();
    const places = laid(told, page === 0 ? pixels : null);
    await Promise.all(names.map((name) => add(pair[name], source(told[name], page), places[name], 1)));
    pair.fit(true);
    await difference();
  };

  // only the first page's preview was measured
  const difference = async (): Promise<void> => {
    if (page > 0 || !pixels?.compared || !pixels.common) return;
    const url = `${root}/compare/picture?from=${told.from.version_id}&to=${told.to.version_id}`;
    const item = await add(pair.to, { type: "image", url }, { x: 0, y: 0, width: 1 }, 0);
    const follow = (): void => item.setOpacity(stage.dataset.mode === "difference" ? 1 : 0);
    stage.addEventListener("mode", follow);
    follow();
    mark(pixels.boxes ?? [], item.getBounds().height);
  };

  controls(stage, pair);
  pageControls(stage, pages, (to) => {
    page = to;
    void show();
  });
  await show();
  pixels = await measured(told);
  const older = pair.from.world.getItemAt(0);
  if (page === 0 && older) {
    const place = laid(told, pixels).from;
    older.setPosition(new OpenSeadragon.Point(place.x, place.y), true);
    older.setWidth(place.width, true);
    pair.again();
    await difference();
  }
  stage.dataset.ready = "";
}

// ------------------------------------------------------------------------------------------------ sources

function source(side: Side, page: number): string | { type: string; url: string } {
  const tiles = tilesOf(side);
  if (page === 0 && tiles) return tiles;
  const wanted = `page-${page + 1}`;
  const recipe = page > 0 && side.recipes.includes(wanted) ? wanted : "preview";
  return { type: "image", url: media(side.version_id, recipe) };
}

// The newer one is 1 wide; the older lies so that what both show coincides.
function laid(told: Told, pixels: Pixels | null): Record<Name, Place> {
  const places = { from: { x: 0, y: 0, width: 1 }, to: { x: 0, y: 0, width: 1 } };
  const common = pixels?.common;
  if (!common) return places;
  const height = (side: Side): number => (side.width && side.height ? side.height / side.width : 1);
  const width = common.to[2] / common.from[2];
  places.from = {
    x: common.to[0] / 100 - (common.from[0] / 100) * width,
    y: (common.to[1] / 100) * height(told.to) - (common.from[1] / 100) * width * height(told.from),
    width,
  };
  return places;
}

function viewer(stage: HTMLElement, name: Name, side: Side): OpenSeadragon.Viewer {
  const pane = one(stage, `[data-side="${name}"] .pane`);
  const element = document.createElement("div");
  element.className = "zoomer";
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", side.alt_text || side.label);
  pane.replaceChildren(element);
  const made = viewerIn(element, {
    animationTime: still.matches ? 0 : 0.4,
    maxZoomPixelRatio: 4,
    preserveImageSizeOnResize: true,
    visibilityRatio: 0.3,
    placeholderFillStyle: "#16181d",
  });
  made.addHandler("canvas-key", (event) => {
    // the stage has the keys of the whole page
    if (!/^(Arrow|[+=\-_0]$)/.test((event.originalEvent as KeyboardEvent).key)) event.preventDefaultAction = true;
  });
  return made;
}

function add(
  into: OpenSeadragon.Viewer, tileSource: string | { type: string; url: string }, place: Place, opacity: number,
): Promise<OpenSeadragon.TiledImage> {
  return new Promise((done, failed) => {
    into.addTiledImage({
      tileSource,
      ...place,
      opacity,
      success: (event) => done((event as unknown as { item: OpenSeadragon.TiledImage }).item),
      error: (event) => failed(new Error((event as unknown as { message: string }).message)),
    });
  });
}

// --------------------------------------------------------------------------------------------------- step

// Both look at the same place of the world: whoever is moved leads, and the other one follows at once.
class Pair {
  // whether all is looked at: then it still is when a pane's size changes
  private whole = true;
  private leading: OpenSeadragon.Viewer;

  constructor(readonly from: OpenSeadragon.Viewer, readonly to: OpenSeadragon.Viewer) {
    this.leading = to;
    for (const [viewer, follower] of [[from, to], [to, from]] as const) {
      for (const event of ["canvas-press", "canvas-scroll", "canvas-pinch", "canvas-key"] as const) {
        viewer.addHandler(event, () => this.lead(viewer));
      }
      viewer.addHandler("viewport-change", () => {
        if (this.leading === viewer) this.follow(viewer, follower);
      });
      viewer.addHandler("after-resize", () => requestAnimationFrame(() => this.again()));
    }
  }

  get both(): [OpenSeadragon.Viewer, OpenSeadragon.Viewer] {
    return [this.from, this.to];
  }

  /** All that both show. */
  get all(): OpenSeadragon.Rect {
    return this.from.world.getHomeBounds().union(this.to.world.getHomeBounds());
  }

  /** What is moved next leads. */
  lead(viewer: OpenSeadragon.Viewer): OpenSeadragon.Viewport {
    this.leading = viewer;
    this.whole = false;
    return viewer.viewport;
  }

  fit(immediately = false): void {
    this.lead(this.to).fitBounds(this.all, immediately);
    if (immediately) this.follow(this.to, this.from);
    this.whole = true;
  }

  /** Look at all of it where all was looked at, and else at the same place in both. */
  again(): void {
    if (!this.to.world.getItemCount() || !this.from.world.getItemCount()) return;
    if (this.whole) this.fit(true);
    else this.follow(this.leading, this.leading === this.to ? this.from : this.to);
  }

  private follow(leader: OpenSeadragon.Viewer, follower: OpenSeadragon.Viewer): void {
    follower.viewport.zoomTo(leader.viewport.getZoom(true), undefined, true);
    follower.viewport.panTo(leader.viewport.getCenter(true), true);
  }
}

function controls(stage: HTMLElement, pair: Pair): void {
  const zoom = (by: number): void => void pair.lead(pair.to).zoomBy(by).applyConstraints();
  const fit = (): void => pair.fit();
  one(stage, '[data-do="in"]').addEventListener("click", () => zoom(1.5));
  one(stage, '[data-do="out"]').addEventListener("click", () => zoom(1 / 1.5));
  one(stage, '[data-do="fit"]').addEventListener("click", fit);
  const blink = one(stage, '[data-do="blink"]');
  blink.addEventListener("click", () => {
    const on = !("blink" in stage.dataset);
    if (on) stage.dataset.blink = "";
    else delete stage.dataset.blink;
    blink.setAttribute("aria-pressed", String(on));
  });
  const move = (x: number, y: number): void => {
    const { width } = pair.to.viewport.getBounds();
    pair.lead(pair.to).panBy(new OpenSeadragon.Point(x * width * 0.1, y * width * 0.1)).applyConstraints();
  };
  stage.addEventListener("mode", () => {
    for (const viewer of pair.both) viewer.forceResize();
  });
  onKey((event, target) => {
    if (event.key.startsWith("Arrow") && target.closest("input, [role=radio]")) return;
    const slides = stage.dataset.mode === "swipe" || stage.dataset.mode === "overlay";
    const does: Record<string, (() => void) | undefined> = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
      b: () => press(stage, "blink"), "[": () => press(stage, "page-before"), "]": () => press(stage, "page-after"),
      ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1),
      ArrowLeft: slides ? undefined : () => move(-1, 0), ArrowRight: slides ? undefined : () => move(1, 0),
    };
    const act = target.closest(".zoomer") ? (event.key === "b" ? does.b : undefined) : does[event.key];
    if (!act) return;
    // the page scrolls as usual unless the stage is what is looked at
    if (event.key.startsWith("Arrow") && !stage.contains(target)) return;
    event.preventDefault();
    act();
  });
}

function pageControls(stage: HTMLElement, pages: number, turn: (to: number) => void): void {
  if (pages < 2) return;
  const group = one(stage, ".pages");
  group.hidden = false;
  let page = 0;
  const go = (to: number): void => {
    if (to < 0 || to >= pages) return;
    page = to;
    one(group, "[data-page]").textContent = `Page ${page + 1} of ${pages}`;
    turn(page);
  };
  one(group, "[data-page]").textContent = `Page 1 of ${pages}`;
  one(group, '[data-do="page-before"]').addEventListener("click", () => go(page - 1));
  one(group, '[data-do="page-after"]').addEventListener("click", () => go(page + 1));
}

// ------------------------------------------------------------------------------------------------- changes

async function measured(told: Told): Promise<Pixels> {
  const place = one(document, "#pixels");
  try {
    const pixels = await get<Pixels>(`/api/compare/pixels?from=${told.from.version_id}&to=${told.to.version_id}`);
    place.replaceChildren(...pixels.said.map(line));
    return pixels;
  } catch (error) {
    place.replaceChildren(line(`The pictures could not be measured. ${(error as Error).message}`));
    return { compared: false, said: [] };
  }
}

function line(text: string): HTMLElement {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

// Marks what changed, and goes through it. Returns what takes the boxes, in per cent, and the height of the picture
// they lie in.
function regions(pair: Pair): (boxes: Box[], ratio: number) => void {
  const list = one(document, "#regions");
  let rects: OpenSeadragon.Rect[] = [];
  let at = -1;

  const look = (index: number): void => {
    const rect = rects[index];
    if (!rect) return;
    at = index;
    const room = Math.max(rect.width, rect.height, pair.all.width / 12);
    pair.lead(pair.to).fitBounds(
      new OpenSeadragon.Rect(rect.x - room / 2, rect.y - room / 2, rect.width + room, rect.height + room),
    );
    for (const [number, button] of [...list.querySelectorAll("button")].entries()) {
      button.setAttribute("aria-pressed", String(number === index));
    }
    say(`Change ${index + 1} of ${rects.length}`);
  };
  onKey((event) => {
    const step = { n: 1, p: -1 }[event.key.toLowerCase()];
    if (step !== undefined && rects.length) look((Math.max(at, step > 0 ? -1 : 0) + step + rects.length) % rects.length);
  });

  return (boxes, ratio) => {
    at = -1;
    list.replaceChildren();
    pair.to.clearOverlays();
    rects = boxes.map(
      ([x, y, width, height]) =>
        new OpenSeadragon.Rect(x / 100, (y / 100) * ratio, width / 100, (height / 100) * ratio),
    );
    for (const [index, rect] of rects.entries()) {
      const mark = document.createElement("div");
      mark.className = "region";
      pair.to.addOverlay({ element: mark, location: rect });
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button small";
      button.textContent = `Change ${index + 1}`;
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => look(index));
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
  };
}
