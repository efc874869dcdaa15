// Frames and the time of day they are known by (SMPTE ST 12-1).

/** Return frames a second from what the format says: "25" or "30000/1001"; 25 where it says nothing. */
export function frameRate(told: string | undefined): number {
  const [over, under = 1] = (told ?? "").split("/").map(Number);
  const rate = (over ?? NaN) / under;
  return Number.isFinite(rate) && rate > 0 ? rate : 25;
}

/** What a time may be short of a frame's beginning, in seconds: times are written to the millisecond. */
const HAIR = 0.0006;

/** Return the frame that is shown at a time. */
export const frameAt = (seconds: number, rate: number) => Math.max(0, Math.floor((seconds + HAIR) * rate));

/** Return a time at which a player shows a frame: its middle, so that rounding never shows a neighbour. */
export const middleOf = (frame: number, rate: number) => (frame + 0.5) / rate;

/** Return when a frame begins, in seconds, to the millisecond. */
export const startOf = (frame: number, rate: number) => Math.round((frame / rate) * 1000) / 1000;

/** Return a frame as HH:MM:SS:FF, counted from a film's own start; with ";" in it, frames 0 and 1 of most minutes are
 * dropped, so that 29.97 frames a second keep up with the clock. */
export function timecode(frame: number, rate: number, start = "00:00:00:00"): string {
  const base = Math.round(rate);
  const drops = start.includes(";") ? Math.round(base / 15) : 0;
  let number = frame + framesOf(start, base, drops);
  if (drops) number += dropped(number, base, drops);
  const digits = (value: number) => String(value).padStart(2, "0");
  const seconds = Math.floor(number / base);
  const parts = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60].map(digits);
  return `${parts.join(":")}${drops ? ";" : ":"}${digits(number % base)}`;
}

function framesOf(start: string, base: number, drops: number): number {
  const [hours = 0, minutes = 0, seconds = 0, frames = 0] = start.split(/[:;]/).map((part) => Number(part) || 0);
  const total = hours * 60 + minutes;
  return (total * 60 + seconds) * base + frames - drops * (total - Math.floor(total / 10));
}

function dropped(frame: number, base: number, drops: number): number {
  const tenMinutes = base * 600 - drops * 9;
  const minute = base * 60 - drops;
  const tens = Math.floor(frame / tenMinutes);
  const rest = frame % tenMinutes;
  return drops * 9 * tens + (rest > drops ? drops * Math.floor((rest - drops) / minute) : 0);
}

/** Return seconds as people read them: 1:02.5. */
export function clock(seconds: number): string {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const whole = Math.floor(tenths / 10);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const last = `${String(whole % 60).padStart(2, "0")}.${tenths % 10}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${last}` : `${minutes}:${last}`;
}
