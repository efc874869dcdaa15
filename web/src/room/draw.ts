// Drawing, by pointer and by keys alike: what is pressed, where to, and when it is done.
import { signal } from "@preact/signals";
import * as player from "./player";
import { draft, focusOn, page, say, tab, version } from "./state";
import type { Place, Point, Shape, ShapeKind } from "./target";

export type Tool = "move" | ShapeKind;
export const TOOLS: { tool: Tool; key: string; label: string; how: string }[] = [
  { tool: "move", key: "v", label: "Move", how: "Drag to move, scroll to zoom." },
  { tool: "pin", key: "p", label: "Pin", how: "Click, or press Enter, where it is." },
  { tool: "box", key: "b", label: "Box", how: "Drag; or press Enter at two corners." },
  { tool: "arrow", key: "w", label: "Arrow", how: "Drag to the tip; or press Enter at both ends." },
  { tool: "polygon", key: "g", label: "Polygon", how: "Click, or press Enter, at each corner; double-click, or Enter twice, ends it." },
  { tool: "freehand", key: "f", label: "Freehand", how: "Drag; or press Enter, go by the arrow keys, and press Enter again." },
];

/** Percent that a finger may miss a polygon's first corner by, and that a drag must go to be one. */
const NEAR = 1.5;
const LEAST = 0.4;
/** Points of a drawing that are kept at most. */
const MOST = 600;

export const tool = signal<Tool>("move");
export const sketch = signal<Shape | null>(null);
/** Where the keys' crosshair is; null: the pointer draws. */
export const cursor = signal<Point | null>(null);

export function take(next: Tool): void {
  tool.value = next;
  sketch.value = null;
  cursor.value = null;
  if (next !== "move") say(TOOLS.find((one) => one.tool === next)?.how ?? "");
}

const clamp = (value: number) => Math.min(100, Math.max(0, value));
const near = (a: Point, b: Point, by: number) => Math.hypot(a[0] - b[0], a[1] - b[1]) <= by;

/** Press at a point: begins a shape, or adds a polygon's corner. */
export function press(at: Point): void {
  const kind = tool.peek();
  if (kind === "move") return;
  const point: Point = [clamp(at[0]), clamp(at[1])];
  if (kind === "pin") return finish({ kind, points: [point] });
  const drawn = sketch.peek();
  if (kind !== "polygon" || !drawn) {
    sketch.value = { kind, points: [point, point] };
    return;
  }
  const corners = drawn.points.slice(0, -1);
  const [first, last] = [corners[0]!, corners[corners.length - 1]!];
  if (corners.length > 2 && (near(point, first, NEAR) || near(point, last, LEAST))) finish({ kind, points: corners });
  else sketch.value = { kind, points: [...corners, point, point] };
}

/** Go to a point while something is being drawn. */
export function drag(at: Point): void {
  const drawn = sketch.peek();
  if (!drawn) return;
  const point: Point = [clamp(at[0]), clamp(at[1])];
  const before = drawn.points[drawn.points.length - 1]!;
  if (drawn.kind === "freehand") {
    if (!near(point, before, LEAST / 2)) sketch.value = { ...drawn, points: [...drawn.points, point] };
  } else sketch.value = { ...drawn, points: [...drawn.points.slice(0, -1), point] };
}

/** Let go: a box, an arrow or a drawing is done; a polygon goes on. */
export function release(): void {
  const drawn = sketch.peek();
  if (!drawn || drawn.kind === "polygon") return;
  const [first, last] = [drawn.points[0]!, drawn.points[drawn.points.length - 1]!];
  const flat = drawn.kind === "box" && (Math.abs(first[0] - last[0]) < LEAST || Math.abs(first[1] - last[1]) < LEAST);
  const tiny = drawn.points.every((point) => near(point, first, LEAST));
  if (flat || tiny) {
    sketch.value = null;
    say(`Too small to see. ${TOOLS.find((one) => one.tool === drawn.kind)?.how ?? ""}`);
  } else finish(drawn);
}

/** End a polygon where it is. */
export function close(): void {
  const drawn = sketch.peek();
  if (drawn?.kind !== "polygon") return;
  const corners = drawn.points.slice(0, -1).filter((point, i, all) => i === 0 || !near(point, all[i - 1]!, LEAST));
  if (corners.length > 2) finish({ kind: "polygon", points: corners });
}

export function cancel(): boolean {
  const busy = sketch.peek() !== null || tool.peek() !== "move";
  sketch.value = null;
  cursor.value = null;
  tool.value = "move";
  return busy;
}

function finish(shape: Shape): void {
  sketch.value = null;
  cursor.value = null;
  tool.value = "move";
  draft.value = { ...here(), shape: { ...shape, points: thinned(shape.points) } };
  tab.value = "notes";
  focusOn("#write textarea");
}

/** Return the time or page that a note written now is about. */
export function here(): Place {
  if (player.plays.peek()) {
    player.element.peek()?.pause();
    const [start, end] = player.range.peek() ?? [player.now()];
    return { time: end === undefined ? [start] : [start, end] };
  }
  return (version.peek()?.technical.pages ?? 1) > 1 ? { page: page.peek() } : {};
}

function thinned(points: Point[]): Point[] {
  const every = Math.ceil(points.length / MOST);
  return every < 2 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

// ----------------------------------------------------------------------------------------------- by keys

/** Move the crosshair, in percent; it begins in the middle. */
export function nudge(across: number, down: number): void {
  const [x, y] = cursor.peek() ?? [50, 50];
  cursor.value = [clamp(x + across), clamp(y + down)];
  drag(cursor.peek()!);
}

/** Enter: begin, add a corner, or end what is being drawn. */
export function enter(): void {
  const at = cursor.peek() ?? [50, 50];
  cursor.value = at;
  const drawn = sketch.peek();
  if (!drawn || drawn.kind === "polygon") press(at);
  else release();
}
