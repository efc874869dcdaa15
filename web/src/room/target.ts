// Where a note points: W3C Web Annotation targets, read into numbers and written from numbers. Nothing of a target's
// markup ever reaches the page.
import type { Selector, Target, Version } from "./types";
import { clock } from "../shared/timecode";

const MEDIA = "http://www.w3.org/TR/media-frags/";
const PDF = "http://tools.ietf.org/rfc/rfc3778";

export type Point = [x: number, y: number];
export type ShapeKind = "pin" | "box" | "polygon" | "freehand" | "arrow";

/** A shape by its points in percent of width and height; a box by two corners, an arrow from tail to tip. */
export interface Shape {
  kind: ShapeKind;
  points: Point[];
}

/** When, on which page and where; nothing of it means the whole version. */
export interface Place {
  time?: [start: number, end?: number];
  page?: number;
  shape?: Shape;
}

export function read(target: Target | null): Place {
  const place: Place = {};
  for (let selector = target?.selector; selector; selector = selector.refinedBy) {
    if (selector.type === "SvgSelector") place.shape = drawing(selector.value) ?? place.shape;
    else if (selector.conformsTo === PDF) place.page = Number(/^page=(\d+)$/.exec(selector.value)?.[1] ?? 1);
    else fragment(selector.value, place);
  }
  return place;
}

function fragment(value: string, place: Place): void {
  const box = /^xywh=percent:([\d.]+),([\d.]+),([\d.]+),([\d.]+)$/.exec(value);
  if (box) {
    const [x = 0, y = 0, w = 0, h = 0] = box.slice(1).map(Number);
    place.shape = w || h ? { kind: "box", points: [[x, y], [x + w, y + h]] } : { kind: "pin", points: [[x, y]] };
    return;
  }
  const time = /^t=([\d.]+)(?:,([\d.]+))?$/.exec(value);
  if (time) place.time = time[2] === undefined ? [Number(time[1])] : [Number(time[1]), Number(time[2])];
}

function drawing(value: string): Shape | undefined {
  const drawn = new DOMParser().parseFromString(value, "image/svg+xml").documentElement.firstElementChild;
  const at = (name: string) => Number(drawn?.getAttribute(name));
  if (drawn?.localName === "line") return checked("arrow", [[at("x1"), at("y1")], [at("x2"), at("y2")]]);
  const kind = drawn?.localName === "polygon" ? "polygon" : drawn?.localName === "polyline" ? "freehand" : undefined;
  if (!kind) return undefined;
  const numbers = (drawn?.getAttribute("points") ?? "").trim().split(/[\s,]+/).map(Number);
  return checked(kind, numbers.flatMap((x, i): Point[] => (i % 2 ? [] : [[x, numbers[i + 1] ?? NaN]])));
}

function checked(kind: ShapeKind, points: Point[]): Shape | undefined {
  return points.length > 1 && points.flat().every(Number.isFinite) ? { kind, points } : undefined;
}

export function write(place: Place, version: Version): Target | null {
  const inner = place.shape && shapeSelector(place.shape);
  let selector: Selector | undefined = inner;
  if (place.time) {
    const value = `t=${place.time.filter((part) => part !== undefined).map(number).join(",")}`;
    selector = { type: "FragmentSelector", conformsTo: MEDIA, value, ...(inner && { refinedBy: inner }) };
  } else if (place.page !== undefined) {
    selector = { type: "FragmentSelector", conformsTo: PDF, value: `page=${place.page}`, ...(inner && { refinedBy: inner }) };
  }
  return selector ? { source: `urn:sha256:${version.sha256}`, selector } : null;
}

function shapeSelector({ kind, points }: Shape): Selector {
  const [first = [0, 0], last = first] = [points[0], points[points.length - 1]];
  if (kind === "pin" || kind === "box") {
    const [left, top] = [Math.min(first[0], last[0]), Math.min(first[1], last[1])];
    const sides = kind === "pin" ? [0, 0] : [Math.abs(last[0] - first[0]), Math.abs(last[1] - first[1])];
    const value = `xywh=percent:${[left, top, ...sides].map(number).join(",")}`;
    return { type: "FragmentSelector", conformsTo: MEDIA, value };
  }
  const listed = points.map((point) => point.map(number).join(",")).join(" ");
  const [[x1, y1], [x2, y2]] = [first.map(number), last.map(number)] as [[number, number], [number, number]];
  const drawn =
    kind === "arrow"
      ? `<line class="arrow" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`
      : `<${kind === "polygon" ? "polygon" : "polyline"} points="${listed}"/>`;
  return { type: "SvgSelector", value: `<svg viewBox="0 0 100 100">${drawn}</svg>` };
}

const number = (value: number) => Math.round(value * 1000) / 1000;

/** Say where a place is, for the list and for screen readers. */
export function describe(place: Place): string {
  const parts: string[] = [];
  if (place.page !== undefined) parts.push(`page ${place.page}`);
  if (place.time) parts.push(place.time.map((part) => clock(part ?? 0)).join("–"));
  if (place.shape) parts.push(place.shape.kind);
  return parts.join(", ");
}
