// The viewer that pictures are looked at by, moved and zoomed by mouse, touch and keys, as far as all pages have it alike.
import OpenSeadragon from "openseadragon";

/** Whether the person wants nothing on the page to move by itself. */
export const still = matchMedia("(prefers-reduced-motion: reduce)");

// OpenSeadragon would write a style sheet into the page, which our policy does not let it; it looks for one by this mark.
// An element of no known language is one that browsers don't read. What it would say stands in room.css.
const mark = document.createElementNS("urn:dam", "style");
mark.setAttribute("data-openseadragon-mobile-css", "");
document.head.append(mark);

export function viewerIn(element: HTMLElement, own: OpenSeadragon.Options): OpenSeadragon.Viewer {
  return OpenSeadragon({
    element,
    drawer: "canvas", // WebGL draws no faster what is one picture, and is missing on many machines
    showNavigationControl: false,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    ...own,
  });
}
