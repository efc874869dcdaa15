// How things are said.
import type { Kind, VerdictName } from "./types";

export const KINDS: Record<Kind, string> = { must_fix: "Must fix", suggestion: "Suggestion", note: "Note" };
export const VERDICTS: Record<VerdictName, string> = {
  approve: "Approve",
  request_changes: "Request changes",
  reject: "Reject",
};
/** What they do to a brief. */
export const VERDICTS_ON_BRIEF: Record<VerdictName, string> = {
  approve: "Sign the brief",
  request_changes: "Send back for changes",
  reject: "Reject",
};
export const VERDICTS_GIVEN: Record<VerdictName, string> = {
  approve: "Approved",
  request_changes: "Changes requested",
  reject: "Rejected",
};

export const plain = (word: string) => word.replaceAll("_", " ");
export const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
export const count = (number: number, one: string, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
export const short = (sha256: string) => sha256.slice(0, 12);

const moment = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });

export const when = (iso: string | null | undefined) => (iso ? moment.format(new Date(iso)) : "–");

/** Return how long ago something was, or its date where that is long. */
export function ago(iso: string, now = Date.now()): string {
  const minutes = Math.round((new Date(iso).getTime() - now) / 60000);
  if (Math.abs(minutes) < 1) return "just now";
  if (Math.abs(minutes) < 60) return relative.format(minutes, "minute");
  if (Math.abs(minutes) < 60 * 24) return relative.format(Math.round(minutes / 60), "hour");
  return when(iso);
}

export function size(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes} bytes`;
}
