// The timeline of a film or a sound: waveform, notes, in and out, and the buttons below it.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { media } from "../shared/api";
import * as player from "./player";
import { activeNote, draft, shownThreads, tab, version } from "./state";
import { clock, timecode } from "../shared/timecode";

export function Transport() {
  const one = version.value!;
  const told = player.isFilm.value
    ? timecode(player.frame.value, player.rate.value, one.technical.timecode)
    : clock(player.time.value);
  const [start, end] = player.range.value ?? [];
  return (
    <div class="transport">
      <Timeline told={told} />
      <div class="actions">
        <button type="button" class="button small" onClick={() => player.stepBy(-1)} aria-label={player.isFilm.value ? "Frame before" : "Back a tenth"} title="(,)">
          ‹
        </button>
        <button type="button" class="button small primary play" onClick={player.toggle} title="(space)">
          {player.playing.value ? "Pause" : "Play"}
        </button>
        <button type="button" class="button small" onClick={() => player.stepBy(1)} aria-label={player.isFilm.value ? "Frame after" : "On a tenth"} title="(.)">
          ›
        </button>
        <output class="timecode" aria-label="Time">
          {told}
        </output>
        {player.isFilm.value && <span class="soft wide-only">frame {player.frame.value}</span>}
        <span class="edges">
          <button type="button" class="button small" onClick={() => player.setEdge("in")} title="A note begins here (i)">
            In{start !== undefined && ` ${clock(start)}`}
          </button>
          <button type="button" class="button small" onClick={() => player.setEdge("out")} title="A note ends here (o)">
            Out{end !== undefined && ` ${clock(end)}`}
          </button>
          {start !== undefined && (
            <button type="button" class="button small" onClick={() => (player.range.value = null)} aria-label="Forget in and out">
              ×
            </button>
          )}
        </span>
        <Speed />
      </div>
    </div>
  );
}

function Speed() {
  const speed = useSignal(1);
  return (
    <label class="speed">
      <span class="hidden">Speed</span>
      <select
        value={String(speed.value)}
        onChange={(event) => {
          speed.value = Number(event.currentTarget.value);
          if (player.element.value) player.element.value.playbackRate = speed.value;
        }}
      >
        {[0.25, 0.5, 1, 1.5, 2].map((one) => (
          <option key={one} value={String(one)}>
            {one}×
          </option>
        ))}
      </select>
    </label>
  );
}

function Timeline({ told }: { told: string }) {
  const bar = useRef<HTMLDivElement>(null);
  const total = player.seconds.value || 1;
  const share = (seconds: number) => `${Math.min(100, (seconds / total) * 100)}%`;
  const at = (event: PointerEvent) => {
    const { left, width } = bar.current!.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / width)) * total;
  };
  const from = useRef<number | null>(null);
  const down = (event: PointerEvent) => {
    bar.current!.setPointerCapture(event.pointerId);
    player.element.value?.pause();
    from.current = event.shiftKey ? at(event) : null;
    player.seek(at(event));
  };
  const move = (event: PointerEvent) => {
    hover.value = event.pointerType === "mouse" ? at(event) : null;
    if (!bar.current!.hasPointerCapture(event.pointerId)) return;
    player.seek(at(event));
    if (from.current !== null) {
      const [start, end] = [from.current, player.now()].sort((a, b) => a - b) as [number, number];
      if (end > start) player.range.value = [Math.round(start * 1000) / 1000, end];
    }
  };
  const hover = useSignal<number | null>(null);
  const [start, end] = (draft.value?.time ?? player.range.value ?? []) as [number?, number?];
  return (
    <div class="timeline" ref={bar} onPointerDown={down} onPointerMove={move} onPointerLeave={() => (hover.value = null)} title="Drag to scrub, with Shift to take a range">
      <Waveform />
      {hover.value !== null && <Peek at={hover.value} left={share(hover.value)} />}
      {start !== undefined && <div class="range" style={{ left: share(start), width: end === undefined ? "2px" : share(end - start) }} />}
      {shownThreads.value.map(({ note, number, place }) => {
        if (!place.time) return null;
        const [begins, ends] = place.time;
        const name = `when ${note.kind} ${note.status}${activeNote.value === note.annotation_id ? " active" : ""}`;
        const select = () => {
          tab.value = "notes";
          activeNote.value = note.annotation_id;
          player.seek(begins);
        };
        return (
          <button
            type="button"
            key={note.annotation_id}
            class={name}
            tabIndex={-1}
            aria-hidden="true"
            style={{ left: share(begins), width: ends === undefined ? undefined : share(ends - begins) }}
            onPointerDown={(event) => event.stopPropagation()}
            onClick={select}
          >
            {number}
          </button>
        );
      })}
      <div class="playhead" style={{ left: share(player.time.value) }} />
      <input
        type="range"
        min={0}
        max={total}
        step={player.isFilm.value ? 1 / player.rate.value : 0.1}
        value={player.time.value}
        aria-label="Position"
        aria-valuetext={told}
        onInput={(event) => player.seek(Number(event.currentTarget.value))}
      />
    </div>
  );
}

/** The picture of the storyboard that is nearest before a time, over the timeline. */
function Peek({ at, left }: { at: number; left: string }) {
  const one = version.value!;
  const board = one.technical.storyboard;
  if (!board || !one.recipes.includes("storyboard")) return null;
  const index = Math.max(0, board.seconds.findLastIndex((seconds) => seconds <= at));
  const place = `-${(index % board.columns) * board.tile_width}px -${Math.floor(index / board.columns) * board.tile_height}px`;
  const style = {
    left,
    width: `${board.tile_width}px`,
    height: `${board.tile_height}px`,
    backgroundImage: `url("${media(one.version_id, "storyboard")}")`,
    backgroundPosition: place,
  };
  return <div class="peek" style={style} aria-hidden="true" />;
}

interface Peaks {
  length: number;
  data: number[];
}

function Waveform() {
  const one = version.value!;
  const canvas = useRef<HTMLCanvasElement>(null);
  const peaks = useSignal<Peaks | null>(null);
  useEffect(() => {
    peaks.value = null;
    if (!one.recipes.includes("peaks")) return;
    const gone = new AbortController();
    fetch(media(one.version_id, "peaks"), { signal: gone.signal })
      .then((reply) => (reply.ok ? (reply.json() as Promise<Peaks>) : null))
      .then((told) => (peaks.value = told))
      .catch(() => undefined); // without it the timeline is a plain bar
    return () => gone.abort();
  }, [one.version_id]);
  useEffect(() => {
    if (!peaks.value) return;
    const told = peaks.value;
    const draw = () => canvas.current && paint(canvas.current, told);
    const observer = new ResizeObserver(draw);
    observer.observe(canvas.current!);
    return () => observer.disconnect();
  }, [peaks.value]);
  return <canvas ref={canvas} class={player.isFilm.value ? "waveform low" : "waveform"} aria-hidden="true" />;
}

function paint(canvas: HTMLCanvasElement, { data, length }: Peaks): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  const sharp = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * sharp, height * sharp];
  const pen = canvas.getContext("2d");
  if (!pen || !length) return;
  pen.scale(sharp, sharp);
  pen.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0; x < width; x++) {
    let [low, high] = [0, 0];
    const last = Math.max(Math.floor((x / width) * length) + 1, Math.floor(((x + 1) / width) * length));
    for (let column = Math.floor((x / width) * length); column < last; column++) {
      low = Math.min(low, data[column * 2] ?? 0);
      high = Math.max(high, data[column * 2 + 1] ?? 0);
    }
    const top = (1 - high / 128) * (height / 2);
    pen.fillRect(x, top, 1, Math.max(1, (1 - low / 128) * (height / 2) - top));
  }
}
