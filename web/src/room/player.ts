// The film or the sound that is on the stage: one at a time, known to the timeline, the keys and the notes.
import { batch, computed, signal } from "@preact/signals";
import { version } from "./state";
import { frameAt, frameRate, middleOf, startOf } from "../shared/timecode";

/** Seconds that one step goes in a sound, which has no frames. */
const STEP = 0.1;

export const element = signal<HTMLMediaElement | null>(null);
export const time = signal(0);
export const playing = signal(false);
/** In and out of the next note, set by the person. */
export const range = signal<[number, number?] | null>(null);

export const rate = computed(() => frameRate(version.value?.technical.frame_rate));
export const seconds = computed(() => version.value?.seconds ?? 0);
export const isFilm = computed(() => version.value?.recipes.includes("poster") ?? false);
export const plays = computed(() => version.value?.recipes.includes("proxy") ?? false);
export const frame = computed(() => frameAt(time.value, rate.value));

/** Take a player onto the stage; returns how to take it off again. */
export function take(player: HTMLMediaElement): () => void {
  batch(() => {
    element.value = player;
    time.value = 0;
    playing.value = false;
    range.value = null;
  });
  let alive = true;
  const follow = () => {
    if (!alive) return;
    if (!seeking) time.value = player.currentTime;
    if (!player.paused && !("requestVideoFrameCallback" in player)) requestAnimationFrame(follow);
  };
  const onFrame: VideoFrameRequestCallback = (_now, { mediaTime }) => {
    if (!alive) return;
    if (!seeking) time.value = mediaTime; // the very frame that is seen, not where the clock has got to
    (player as HTMLVideoElement).requestVideoFrameCallback(onFrame);
  };
  if ("requestVideoFrameCallback" in player) (player as HTMLVideoElement).requestVideoFrameCallback(onFrame);
  const on = (name: string, act: () => void) => player.addEventListener(name, act);
  on("play", () => ((playing.value = true), follow()));
  on("pause", () => ((playing.value = false), follow()));
  on("ended", () => (playing.value = false));
  on("timeupdate", () => isFilm.peek() || follow());
  on("seeked", arrived);
  return () => {
    alive = false;
    player.pause();
    player.removeAttribute("src");
    if (element.peek() === player) element.value = null;
  };
}

export function toggle(): void {
  const player = element.peek();
  if (player?.paused) void player.play().catch(() => undefined);
  else player?.pause();
}

let seeking = false;
let wanted: number | null = null;

/** Go to a time, in a film to the middle of its frame. While one seek is under way only the last wish is kept. */
export function seek(to: number): void {
  const player = element.peek();
  if (!player) return;
  const end = seconds.peek() || player.duration || 0;
  const last = isFilm.peek() ? Math.max(0, frameAt(end, rate.peek()) - 1) : 0;
  const at = isFilm.peek() ? Math.min(last, frameAt(Math.max(0, to), rate.peek())) : 0;
  time.value = isFilm.peek() ? startOf(at, rate.peek()) : Math.min(Math.max(0, to), end);
  wanted = isFilm.peek() ? middleOf(at, rate.peek()) : time.value;
  if (!seeking) go(player);
}

function go(player: HTMLMediaElement): void {
  if (wanted === null) return;
  seeking = true;
  player.currentTime = wanted;
  wanted = null;
  if (player.readyState === 0) {
    player.load();
    seeking = false;
  }
}

function arrived(): void {
  seeking = false;
  const player = element.peek();
  if (player) go(player);
}

/** Step by frames, or by tenths of a second in a sound. */
export function stepBy(steps: number): void {
  element.peek()?.pause();
  seek(isFilm.peek() ? startOf(frame.peek() + steps, rate.peek()) : time.peek() + steps * STEP);
}

export const now = () => (isFilm.peek() ? startOf(frame.peek(), rate.peek()) : Math.round(time.peek() * 100) / 100);

/** Set where the next note begins or ends. */
export function setEdge(edge: "in" | "out"): void {
  const at = now();
  const [start, end] = range.peek() ?? [undefined, undefined];
  if (edge === "in") range.value = end !== undefined && end > at ? [at, end] : [at];
  else range.value = [start !== undefined && start < at ? start : 0, at];
}
