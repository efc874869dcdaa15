// Films and sounds in step: one transport plays, halts and moves both.
import { clock, frameRate } from "../shared/timecode";
import { one, onKey, press, say } from "./stage";
import type { Told } from "./told";

const APART = 0.08; // seconds that two may be apart before one is put right

export function plays(stage: HTMLElement, told: Told): void {
  const [older, newer] = (["from", "to"] as const).map((name) =>
    one<HTMLMediaElement>(stage, `[data-side="${name}"] :is(video, audio)`),
  ) as [HTMLMediaElement, HTMLMediaElement];
  const both = [older, newer];
  const frame = 1 / frameRate(told.to.frame_rate ?? undefined);
  const seek = one<HTMLInputElement>(stage, "[data-seek]");
  const play = one(stage, '[data-do="play"]');
  const listen = one(stage, '[data-do="listen"]');
  for (const player of both) {
    player.controls = false;
    player.preload = "auto";
  }
  older.muted = true;

  const length = (): number => Math.max(...both.map((player) => (Number.isFinite(player.duration) ? player.duration : 0)));
  const lead = (): HTMLMediaElement => ((older.duration || 0) > (newer.duration || 0) ? older : newer);
  const show = (): void => {
    const at = lead().currentTime;
    seek.max = String(length() || 1);
    seek.value = String(at);
    seek.setAttribute("aria-valuetext", clock(at));
    one(stage, "[data-clock]").textContent = `${clock(at)} of ${clock(length())}`;
    play.setAttribute("aria-pressed", String(!lead().paused));
    play.firstChild!.textContent = lead().paused ? "Play " : "Pause ";
  };
  const go = (to: number): void => {
    const at = Math.max(0, Math.min(length(), to));
    for (const player of both) player.currentTime = Math.min(at, player.duration || at);
    show();
  };
  const start = (): void => {
    if (!lead().paused) {
      for (const player of both) player.pause();
      return;
    }
    if (lead().ended) go(0);
    for (const player of both) {
      if (!player.ended) player.play().catch((error: Error) => say(`It can't be played: ${error.message}`));
    }
  };
  play.addEventListener("click", start);
  one(stage, '[data-do="frame-before"]').addEventListener("click", () => step(-frame));
  one(stage, '[data-do="frame-after"]').addEventListener("click", () => step(frame));
  const step = (by: number): void => {
    for (const player of both) player.pause();
    go(lead().currentTime + by);
  };
  seek.addEventListener("input", () => go(Number(seek.value)));
  listen.addEventListener("click", () => {
    [older.muted, newer.muted] = [newer.muted, older.muted];
    listen.firstChild!.textContent = older.muted ? "Hear the older " : "Hear the newer ";
  });
  for (const player of both) {
    for (const event of ["loadedmetadata", "durationchange", "play", "pause", "seeked", "ended"]) {
      player.addEventListener(event, show);
    }
  }
  const tick = (): void => {
    const leader = lead();
    const follower = leader === newer ? older : newer;
    if (!leader.paused) {
      if (!follower.ended && Math.abs(follower.currentTime - leader.currentTime) > APART && !follower.seeking) {
        follower.currentTime = Math.min(leader.currentTime, follower.duration || leader.currentTime);
      }
      show();
    }
    requestAnimationFrame(tick);
  };
  tick();
  show();
  onKey((event, target) => {
    if (event.key === " " && target.closest("button, a, summary")) return;
    const does: Record<string, (() => void) | undefined> = {
      " ": start, ",": () => press(stage, "frame-before"), ".": () => press(stage, "frame-after"),
      j: () => go(lead().currentTime - 5), l: () => go(lead().currentTime + 5), h: () => press(stage, "listen"),
    };
    const act = does[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  stage.dataset.ready = "";
}
