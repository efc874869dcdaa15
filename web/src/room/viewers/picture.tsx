// A picture, moved and zoomed by mouse, touch and keys; from its preview at once, from tiles where there are some.
import OpenSeadragon from "openseadragon";
import { useEffect, useRef } from "preact/hooks";
import { still, viewerIn } from "../../shared/deepzoom";
import { controls, setFrame } from "../stage";

export function Picture({ url, tiles }: { url: string; tiles?: string | undefined }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => open(place.current!, url, tiles), [url, tiles]);
  return <div class="picture" ref={place} />;
}

function open(element: HTMLElement, url: string, tiles: string | undefined): () => void {
  const viewer = viewerIn(element, {
    tileSources: { type: "image", url },
    gestureSettingsPen: { clickToZoom: false },
    animationTime: still.matches ? 0 : 0.35,
    immediateRender: still.matches,
    visibilityRatio: 0.4,
    minZoomImageRatio: 0.8,
    maxZoomPixelRatio: 6,
    maxImageCacheCount: 120,
    keyboardNavEnabled: false, // the room has its own keys
    tabIndex: "-1" as unknown as number,
  } as OpenSeadragon.Options);
  const { viewport } = viewer;
  const follow = () => {
    const image = viewer.world.getItemAt(0);
    if (!image) return;
    const { x, y, width, height } = image.getBounds(true);
    const from = viewport.pixelFromPoint(new OpenSeadragon.Point(x, y), true);
    const to = viewport.pixelFromPoint(new OpenSeadragon.Point(x + width, y + height), true);
    setFrame({ x: from.x, y: from.y, width: to.x - from.x, height: to.y - from.y });
  };
  viewer.addHandler("update-viewport", follow);
  viewer.addHandler("open", () => {
    follow();
    if (tiles) void sharpen(viewer, tiles);
  });
  const own = {
    zoom: (by: number) => (viewport.zoomBy(by), viewport.applyConstraints(), undefined),
    fit: () => (viewport.goHome(), undefined),
    pan: (across: number, down: number) => {
      const by = new OpenSeadragon.Point(across * 0.1, down * 0.1).divide(viewport.getZoom() / viewport.getHomeZoom());
      viewport.panBy(by);
      viewport.applyConstraints();
    },
  };
  controls.value = own;
  return () => {
    if (controls.peek() === own) controls.value = null;
    viewer.destroy();
  };
}

/** Lay the tiles over the preview, where the server has them; else the preview is what there is. */
async function sharpen(viewer: OpenSeadragon.Viewer, tiles: string): Promise<void> {
  const reply = await fetch(tiles, { method: "GET" }).catch(() => undefined);
  if (!reply?.ok || !viewer.isOpen()) return;
  const preview = viewer.world.getItemAt(0);
  if (!preview) return;
  const { x, y, width } = preview.getBounds(true);
  viewer.addTiledImage({ tileSource: tiles, x, y, width });
}
