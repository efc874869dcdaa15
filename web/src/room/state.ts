// What the room knows, and what it looks at. Components read these signals; only the functions here change them.
import { batch, computed, effect, signal } from "@preact/signals";
import { get, pagesOf } from "../shared/api";
import type { Place } from "./target";
import { read } from "./target";
import type { Annotation, Room, Seat, VerdictName } from "./types";

export type Tab = "fill" | "notes" | "decide" | "details";
export interface Mark {
  verdict: VerdictName;
  comment: string;
}

const told = JSON.parse(document.getElementById("room")?.textContent ?? "{}") as Room;

export const room = signal<Room>(told);
export const notes = signal<Annotation[]>(told.annotations);
export const shownId = signal(startsAt());
export const page = signal(1);
export const tab = signal<Tab>(told.purpose === "metadata" && told.status === "in_review" ? "fill" : "notes");
export const activeNote = signal<string | null>(new URLSearchParams(location.search).get("note"));
/** What was drawn or timed for the note that is being written; null: nothing yet. */
export const draft = signal<Place | null>(null);
export const chosen = signal<ReadonlySet<string>>(new Set());
export const showsResolved = signal(false);
/** Verdicts on single versions, kept in this browser until they are signed. */
export const marks = signal<Record<string, Mark>>(kept());
export const alsoHere = signal<string[]>([]);
export const message = signal<{ text: string; act?: { label: string; run: () => void } } | null>(null);

export const version = computed(() => room.value.versions.find((one) => one.version_id === shownId.value));
export const me = computed(() => room.value.me);
export const isOpen = computed(() => room.value.status === "in_review" && !room.value.lapsed);
export const mayWrite = computed(() => me.value.writes && room.value.status === "in_review");

export interface Thread {
  note: Annotation;
  replies: Annotation[];
  number: number;
  place: Place;
}

/** Threads by version, numbered in the order they were begun. */
export const threads = computed(() => {
  const found = new Map<string, Thread[]>();
  const byId = new Map<string, Thread>();
  for (const note of notes.value) {
    if (note.reply_to) continue;
    const of = found.get(note.version_id) ?? [];
    const thread = { note, replies: [], number: of.length + 1, place: read(note.target) };
    found.set(note.version_id, [...of, thread]);
    byId.set(note.annotation_id, thread);
  }
  for (const note of notes.value) if (note.reply_to) byId.get(note.reply_to)?.replies.push(note);
  return found;
});
export const shownThreads = computed(() => threads.value.get(shownId.value) ?? []);
export const openMustFixes = computed(() =>
  [...threads.value.values()].flat().filter(({ note }) => note.kind === "must_fix" && note.status === "open"),
);

const signedBy = (seat: Seat) => seat.signatures.map((one) => one.person);
/** The seat that I have signed, and the one that waits for me. */
export const signedSeat = computed(() => room.value.seats.find((seat) => signedBy(seat).includes(me.value.username)));
export const mySeat = computed(() => {
  const { username } = me.value;
  if (!isOpen.value || signedSeat.value || room.value.makers.includes(username)) return undefined;
  return room.value.seats.find(
    (seat) => seat.status === "open" && (seat.eligible.includes(username) || username in seat.deputies),
  );
});
export const nameOf = (username: string) =>
  room.value.people.find((person) => person.username === username)?.name ?? username.replace(/^guest:/, "");

// ------------------------------------------------------------------------------------------------- looking

export function show(version_id: string): void {
  if (version_id === shownId.peek()) return;
  batch(() => {
    shownId.value = version_id;
    page.value = 1;
    activeNote.value = null;
    draft.value = null;
  });
  history.replaceState(null, "", `#${version_id}`);
}

export function step(by: number): void {
  const { versions } = room.peek();
  const at = versions.findIndex((one) => one.version_id === shownId.peek());
  const next = versions[(at + by + versions.length) % versions.length];
  if (next) show(next.version_id);
}

/** Turn to a page of a document, or to the one nearest to it. */
export function turnTo(to: number): void {
  const one = version.peek();
  if (one) page.value = Math.min(pagesOf(one), Math.max(1, to));
}

export function choose(version_id: string): void {
  const set = new Set(chosen.peek());
  if (!set.delete(version_id)) set.add(version_id);
  chosen.value = set;
}

export function say(text: string, act?: { label: string; run: () => void }): void {
  message.value = act ? { text, act } : { text };
}

/** Do something and say that it is done, or why it was not. Returns whether it was. */
export async function act(does: () => Promise<unknown>, done = ""): Promise<boolean> {
  try {
    await does();
  } catch (error) {
    say((error as Error).message);
    return false;
  }
  if (done) say(done);
  return true;
}

let focusing = false;
/** Whether the caret is on its way into a field that is just being drawn: letters are no keys then. */
export const isFocusing = () => focusing;

/** Put the caret into a field: at once where it is there, else when it is drawn. */
export function focusOn(selector: string): void {
  const focus = () => document.querySelector<HTMLElement>(selector)?.focus();
  focus();
  focusing = true;
  requestAnimationFrame(() => {
    focus();
    focusing = false;
  });
}

/** The proof that the address names: mails lead to `?version=…&note=…`, the room itself notes it after the #. */
function startsAt(): string {
  const wanted = location.hash.slice(1) || new URLSearchParams(location.search).get("version");
  const found = told.versions.find((one) => one.version_id === wanted) ?? told.versions[0];
  return found?.version_id ?? "";
}

// ---------------------------------------------------------------------------------------------- re-reading

/** Read the package again and patch what is shown; what is being typed stays. */
export async function reread(): Promise<void> {
  const read = await get<Room>(`/api/packages/${told.package_id}/room`);
  batch(() => {
    room.value = read;
    notes.value = read.annotations;
  });
}

export async function rereadNotes(): Promise<void> {
  notes.value = await get<Annotation[]>(`/api/packages/${told.package_id}/annotations`);
}

// -------------------------------------------------------------------------------------------------- verdicts

/** Mark versions with a verdict; the same one again takes it back. Nothing is sent before it is signed. */
export function mark(version_ids: string[], verdict: VerdictName | null, comment?: string): void {
  const next = { ...marks.peek() };
  const same = verdict !== null && version_ids.every((id) => next[id]?.verdict === verdict) && comment === undefined;
  for (const id of version_ids) {
    if (verdict === null || same) delete next[id];
    else next[id] = { verdict, comment: comment ?? next[id]?.comment ?? "" };
  }
  marks.value = next;
}

function keeper(): string {
  return `room:${told.package_id}:${told.me.username}`;
}

function kept(): Record<string, Mark> {
  try {
    return JSON.parse(localStorage.getItem(keeper()) ?? "{}") as Record<string, Mark>;
  } catch {
    return {};
  }
}

effect(() => {
  const text = JSON.stringify(marks.value);
  try {
    if (text === "{}") localStorage.removeItem(keeper());
    else localStorage.setItem(keeper(), text);
  } catch {
    // a browser that keeps nothing: the marks last as long as the page
  }
});
