// The layer of notes over a proof: one SVG over pictures, films and pages alike. It is drawn from numbers.
import { useComputed } from "@preact/signals";
import * as draw from "./draw";
import * as player from "./player";
import { activeNote, draft, page, showsResolved, shownThreads, tab, type Thread } from "./state";
import type { Point, Shape } from "./target";
import { controls, frame, type Rect } from "./stage";

/** Seconds that a note on a moment stays in sight while the film plays on. */
const LINGERS = 0.8;

export function Layer() {
  const drawing = draw.tool.value !== "move";
  const seen = useComputed(() => shownThreads.value.filter(inSight));
  const box = frame.value;
  const at = (event: PointerEvent | MouseEvent): Point => {
    const { left, top } = (event.currentTarget as Element).getBoundingClientRect();
    return [((event.clientX - left - box.x) / box.width) * 100, ((event.clientY - top - box.y) / box.height) * 100];
  };
  const pressed = (event: PointerEvent) => {
    if (!drawing || event.button !== 0) return;
    draw.cursor.value = null;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    draw.press(at(event));
    event.preventDefault();
  };
  const handlers = drawing
    ? {
        onPointerDown: pressed,
        onPointerMove: (event: PointerEvent) => draw.cursor.value === null && draw.drag(at(event)),
        onPointerUp: () => draw.cursor.value === null && draw.release(),
        onDblClick: draw.close,
        onWheel: (event: WheelEvent) => {
          event.preventDefault();
          controls.value?.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
        },
      }
    : {};
  if (!box.width) return null;
  return (
    <svg class={drawing ? "layer drawing" : "layer"} aria-hidden="true" {...handlers}>
      {seen.value.map((thread) => (
        <Mark key={thread.note.annotation_id} thread={thread} box={box} />
      ))}
      {draft.value?.shape && <Drawn shape={draft.value.shape} box={box} name="draft" />}
      {draw.sketch.value && <Drawn shape={draw.sketch.value} box={box} name="sketch" />}
      {draw.cursor.value && <Crosshair at={draw.cursor.value} box={box} />}
    </svg>
  );
}

function inSight({ note, place }: Thread): boolean {
  if (!place.shape) return false;
  if (place.page !== undefined && place.page !== page.value) return false;
  const isActive = note.annotation_id === activeNote.value;
  if (note.status === "resolved" && !showsResolved.value && !isActive) return false;
  if (!place.time || !player.plays.value) return true;
  const [start, end] = place.time;
  const hair = 0.5 / player.rate.value;
  return player.time.value >= start - hair && player.time.value <= (end ?? start + (player.playing.value ? LINGERS : 0)) + hair;
}

function Mark({ thread, box }: { thread: Thread; box: Rect }) {
  const { note, number, place } = thread;
  const active = note.annotation_id === activeNote.value;
  const name = `${note.kind} ${note.status}${active ? " active" : ""}`;
  const select = (event: Event) => {
    event.stopPropagation();
    tab.value = "notes";
    activeNote.value = note.annotation_id;
  };
  return (
    <g class={`mark ${name}`} onClick={select}>
      <Drawn shape={place.shape!} box={box} number={number} name="" />
    </g>
  );
}

function Drawn({ shape, box, number, name }: { shape: Shape; box: Rect; number?: number; name: string }) {
  const points = shape.points.map(([x, y]): Point => [box.x + (x / 100) * box.width, box.y + (y / 100) * box.height]);
  const [first, last] = [points[0]!, points[points.length - 1]!];
  const listed = points.map((point) => point.join(",")).join(" ");
  return (
    <g class={`shape ${shape.kind} ${name}`}>
      {shape.kind === "box" && <Box first={first} last={last} />}
      {shape.kind === "polygon" && <polygon points={listed} />}
      {shape.kind === "freehand" && <polyline points={listed} />}
      {shape.kind === "arrow" && <Arrow from={first} to={last} />}
      {shape.kind === "pin" && number === undefined && <circle cx={first[0]} cy={first[1]} r={9} />}
      {number !== undefined && <Badge at={labelled(shape, points)} number={number} />}
    </g>
  );
}

function Box({ first, last }: { first: Point; last: Point }) {
  const [x, y] = [Math.min(first[0], last[0]), Math.min(first[1], last[1])];
  return <rect x={x} y={y} width={Math.abs(last[0] - first[0])} height={Math.abs(last[1] - first[1])} rx={2} />;
}

function Arrow({ from, to }: { from: Point; to: Point }) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
  const wing = (turn: number) => `${to[0] - 14 * Math.cos(angle + turn)},${to[1] - 14 * Math.sin(angle + turn)}`;
  return (
    <>
      <line x1={from[0]} y1={from[1]} x2={to[0]} y2={to[1]} />
      <polyline points={`${wing(0.45)} ${to[0]},${to[1]} ${wing(-0.45)}`} />
    </>
  );
}

/** A number on a drop whose tip, or whose middle, is at a point. */
function Badge({ at, number }: { at: Point; number: number }) {
  return (
    <g class="badge-mark" transform={`translate(${at[0]} ${at[1]})`}>
      <circle r={11} />
      <text text-anchor="middle" dy="0.35em">
        {number}
      </text>
    </g>
  );
}

/** The badge stands at a pin, at an arrow's tail, and at the top left of everything else. */
function labelled({ kind }: Shape, points: Point[]): Point {
  if (kind === "pin" || kind === "arrow" || kind === "freehand") return points[0]!;
  return [Math.min(...points.map(([x]) => x)), Math.min(...points.map(([, y]) => y))];
}

function Crosshair({ at: [x, y], box }: { at: Point; box: Rect }) {
  const [px, py] = [box.x + (x / 100) * box.width, box.y + (y / 100) * box.height];
  return (
    <g class="crosshair" transform={`translate(${px} ${py})`}>
      <path d="M-16 0H-4M4 0H16M0-16V-4M0 4V16" />
      <circle r={2} />
    </g>
  );
}
