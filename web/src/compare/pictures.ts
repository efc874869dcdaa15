// Pictures and pages: two viewers that look at the same place of one world, in which both versions lie so that what
// both show lies at the same spot, also when one is a crop of the other.
import OpenSeadragon from "openseadragon";
import { one, press, root, say, TYPING } from "./stage";
import type { Box, Pixels, Side, Told } from "./told";

type Place = { x: number; y: number; width: number };
type Name = "from" | "to";

export async function pictures(stage: HTMLElement, told: Told): Promise<void> {
  const names: Name[] = ["from", "to"];
  const pages = Math.max(1, ...names.map((name) => pagesOf(told[name]).length));
  if (names.some((name) => !told[name].recipes.includes("preview"))) {
    one(document, "#pixels").replaceChildren(line("One of them has no preview."));
    return;
  }
  spareStyle();
  const viewers = { from: viewer(stage, "from", told.from), to: viewer(stage, "to", told.to) };
  const lead = link(viewers.from, viewers.to);
  let pixels: Pixels | null = null;
  let page = 0;

  const show = async (): Promise<void> => {
    const places = laid(told, page === 0 ? pixels : null);
    for (const name of names) {
      viewers[name].world.removeAll();
      viewers[name].clearOverlays();
    }
    const items = await Promise.all(
      names.map((name) => add(viewers[name], source(told[name], page), places[name], 1)),
    );
    const drawn = items.map((item) => item.getBounds());
    const whole = drawn.reduce((all, bounds) => all.union(bounds));
    home(viewers, whole);
    if (page === 0 && pixels?.compared && pixels.common) await difference(whole);
  };

  const difference = async (whole: OpenSeadragon.Rect): Promise<void> => {
    const url = `${root}/compare/picture?from=${told.from.version_id}&to=${told.to.version_id}`;
    const item = await add(viewers.to, { type: "image", url }, { x: 0, y: 0, width: 1 }, 0);
    const follow = (): void => item.setOpacity(stage.dataset.mode === "difference" ? 1 : 0);
    stage.addEventListener("mode", follow);
    follow();
    const ratio = item.getBounds().height;
    regions(pixels?.boxes ?? [], ratio, viewers, whole, lead);
  };

  controls(stage, viewers, names, lead);
  pageControls(stage, pages, (to) => {
    page = to;
    void show();
  });
  await show();
  pixels = await measured(told);
  if (page === 0 && pixels.compared) await show();
  stage.dataset.ready = "";
}

// ------------------------------------------------------------------------------------------------ sources

function pagesOf(side: Side): string[] {
  return side.recipes.filter((recipe) => /^page-\d+$/.test(recipe));
}

function source(side: Side, page: number): string | { type: string; url: string } {
  if (page === 0 && side.deep_zoom) return `${root}/tiles/${side.version_id}.dzi`;
  const wanted = `page-${page + 1}`;
  const recipe = page > 0 && side.recipes.includes(wanted) ? wanted : "preview";
  return { type: "image", url: `${root}/media/${side.version_id}/${recipe}` };
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

// OpenSeadragon would write a style sheet into the page, which our policy forbids; it looks for one by this mark, and
// an element of no known language is one that browsers don't read.
function spareStyle(): void {
  if (document.querySelector("style[data-openseadragon-mobile-css]")) return;
  const mark = document.createElementNS("urn:dam", "style");
  mark.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(mark);
}

function viewer(stage: HTMLElement, name: Name, side: Side): OpenSeadragon.Viewer {
  const pane = one(stage, `[data-side="${name}"] .pane`);
  const element = document.createElement("div");
  element.className = "zoomer";
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", side.alt_text || side.label);
  pane.replaceChildren(element);
  const made = OpenSeadragon({
    element,
    drawer: "canvas",
    showNavigationControl: false,
    showNavigator: false,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.4,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.3,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
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

// Whoever is moved leads, and the other one follows at once. Returns what makes one lead.
function link(one: OpenSeadragon.Viewer, other: OpenSeadragon.Viewer): (leader: OpenSeadragon.Viewer) => void {
  let leading = other;
  for (const [viewer, follower] of [[one, other], [other, one]] as const) {
    const lead = (): void => void (leading = viewer);
    viewer.addHandler("canvas-press", lead);
    viewer.addHandler("canvas-scroll", lead);
    viewer.addHandler("canvas-pinch", lead);
    viewer.addHandler("canvas-key", lead);
    viewer.addHandler("viewport-change", () => {
      if (leading !== viewer) return;
      follower.viewport.zoomTo(viewer.viewport.getZoom(true), undefined, true);
      follower.viewport.panTo(viewer.viewport.getCenter(true), true);
    });
  }
  return (leader) => void (leading = leader);
}

function home(viewers: Record<Name, OpenSeadragon.Viewer>, whole: OpenSeadragon.Rect): void {
  viewers.from.viewport.fitBounds(whole, true);
  viewers.to.viewport.fitBounds(whole, true);
}

function controls(
  stage: HTMLElement, viewers: Record<Name, OpenSeadragon.Viewer>, names: Name[],
  lead: (leader: OpenSeadragon.Viewer) => void,
): void {
  const whole = (): OpenSeadragon.Rect =>
    names.map((name) => viewers[name].world.getHomeBounds()).reduce((all, bounds) => all.union(bounds));
  const viewport = (): OpenSeadragon.Viewport => {
    lead(viewers.to);
    return viewers.to.viewport;
  };
  const zoom = (by: number): void => void viewport().zoomBy(by).applyConstraints();
  const fit = (): void => void viewport().fitBounds(whole());
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
    const { width } = viewport().getBounds();
    viewport().panBy(new OpenSeadragon.Point(x * width * 0.1, y * width * 0.1)).applyConstraints();
  };
  // a pane's size changes with the mode: both look at the same place all the same, or at all of it as before
  stage.addEventListener("mode", () => {
    const before = viewers.to.viewport.getBounds(true);
    requestAnimationFrame(() => {
      if (!viewers.to.world.getItemCount()) return;
      const all = whole();
      const bounds = before.width >= all.width * 0.99 || before.height >= all.height * 0.99 ? all : before;
      for (const name of names) {
        viewers[name].forceResize();
        viewers[name].viewport.fitBounds(bounds, true);
      }
    });
  });
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest(TYPING)) return;
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
    const reply = await fetch(
      `${root}/api/compare/pixels?from=${told.from.version_id}&to=${told.to.version_id}`,
      { headers: { Accept: "application/json" } },
    );
    if (!reply.ok) throw new Error(`error ${reply.status}`);
    const pixels = (await reply.json()) as Pixels;
    place.replaceChildren(...pixels.said.map(line));
    return pixels;
  } catch (error) {
    place.replaceChildren(line(`The pictures could not be measured: ${(error as Error).message}.`));
    return { compared: false, said: [] };
  }
}

function line(text: string): HTMLElement {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

function regions(
  boxes: Box[], ratio: number, viewers: Record<Name, OpenSeadragon.Viewer>, whole: OpenSeadragon.Rect,
  lead: (leader: OpenSeadragon.Viewer) => void,
): void {
  const list = one(document, "#regions");
  list.replaceChildren();
  let at = -1;
  const rects = boxes.map(
    ([x, y, width, height]) =>
      new OpenSeadragon.Rect(x / 100, (y / 100) * ratio, width / 100, (height / 100) * ratio),
  );
  const look = (index: number): void => {
    const rect = rects[index];
    if (!rect) return;
    at = index;
    lead(viewers.to);
    const room = Math.max(rect.width, rect.height, whole.width / 12);
    viewers.to.viewport.fitBounds(
      new OpenSeadragon.Rect(rect.x - room / 2, rect.y - room / 2, rect.width + room, rect.height + room),
    );
    for (const [number, button] of [...list.querySelectorAll("button")].entries()) {
      button.setAttribute("aria-pressed", String(number === index));
    }
    say(`Change ${index + 1} of ${rects.length}`);
  };
  for (const [index, rect] of rects.entries()) {
    const mark = document.createElement("div");
    mark.className = "region";
    viewers.to.addOverlay({ element: mark, location: rect });
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = `Change ${index + 1}`;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => look(index));
    item.append(button);
    list.append(item);
  }
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest(TYPING)) return;
    const step = { n: 1, p: -1 }[event.key.toLowerCase()];
    if (step === undefined || !rects.length) return;
    look((at + step + rects.length) % rects.length);
  });
}
