// The notes on the version that is shown: threads in step with what is drawn, and a place to write.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call, post } from "../shared/api";
import { Writing } from "./composer";
import { here } from "./draw";
import * as player from "./player";
import {
  act, activeNote, draft, focusOn, mayWrite, me, nameOf, page, rereadNotes, room, say, shownId, showsResolved, shownThreads, version, type Thread,
} from "./state";
import { describe, write } from "./target";
import type { Annotation, Kind } from "./types";
import { ago, count, KINDS, plain } from "./words";

export function Notes() {
  const shown = shownThreads.value.filter(
    ({ note }) => showsResolved.value || note.status === "open" || note.annotation_id === activeNote.value,
  );
  const resolved = shownThreads.value.filter(({ note }) => note.status === "resolved").length;
  return (
    <>
      {mayWrite.value && <Write key={shownId.value} />}
      {resolved > 0 && (
        <label class="check">
          <input type="checkbox" checked={showsResolved.value} onChange={(event) => (showsResolved.value = event.currentTarget.checked)} /> Show{" "}
          {count(resolved, "resolved note")}
        </label>
      )}
      {shown.length === 0 && <p class="empty small">No open notes on this version.</p>}
      <ol class="threads" aria-label="Notes">
        {[...shown].sort(inOrder).map((thread) => (
          <Card key={thread.note.annotation_id} thread={thread} />
        ))}
      </ol>
    </>
  );
}

/** As they come by: on pages and in films by page and time, else in the order they were written. */
function inOrder(a: Thread, b: Thread): number {
  return (a.place.page ?? 0) - (b.place.page ?? 0) || (a.place.time?.[0] ?? 0) - (b.place.time?.[0] ?? 0) || a.number - b.number;
}

/** Select a note, and bring the proof to where it is. */
export function select({ note, place }: Thread): void {
  activeNote.value = note.annotation_id;
  if (place.page !== undefined) page.value = place.page;
  if (place.time) {
    player.element.peek()?.pause();
    player.seek(place.time[0]);
  }
}

// --------------------------------------------------------------------------------------------------- a thread

function change(path: string, body: unknown, done: string, method = "POST"): Promise<boolean> {
  return act(() => call(method, path, body).then(rereadNotes), done);
}

function Card({ thread }: { thread: Thread }) {
  const { note, replies, number, place } = thread;
  const card = useRef<HTMLLIElement>(null);
  const answer = useSignal("");
  const writes = useSignal<"" | "reply" | "resolve">("");
  const active = activeNote.value === note.annotation_id;
  useEffect(() => {
    if (active) card.current?.scrollIntoView({ block: "nearest" });
  }, [active]);
  const where = describe(place);
  const at = `/api/annotations/${note.annotation_id}`;
  const send = async () => {
    const text = answer.value.trim();
    if (writes.value === "reply" && !text) return;
    const sent =
      writes.value === "reply"
        ? change(`/api/packages/${room.value.package_id}/annotations`, replyTo(note, text), "")
        : change(`${at}/resolve`, text ? { resolution: text } : {}, "Resolved.");
    if (await sent) {
      answer.value = "";
      writes.value = "";
    }
  };
  const open = note.status === "open";
  return (
    <li
      ref={card}
      id={`n-${note.annotation_id}`}
      class={`thread ${note.kind} ${note.status}${active ? " active" : ""}`}
      onClick={(event) => !(event.target as Element).closest("button, textarea, input, a, label") && select(thread)}
    >
      <article aria-label={`Note ${number} by ${note.author_name}`}>
        <header>
          <button type="button" class="number" aria-pressed={active} aria-label={`Note ${number}${where ? `, at ${where}` : ""}: show it`} onClick={() => select(thread)}>
            {number}
          </button>
          <strong>{note.author_name}</strong>
          {note.role && <span class="soft">{plain(note.role)}</span>}
          <span class={`badge kind ${note.kind}`}>{KINDS[note.kind]}</span>
          {note.audience && (
            <span class="badge private" title={`Only the ${plain(note.audience)} sees this`}>
              only {plain(note.audience)}
            </span>
          )}
          {!open && <span class="badge state-approved">resolved</span>}
        </header>
        {where && <p class="where soft">{where}</p>}
        {note.origin && <p class="soft origin">From version {note.origin.number}</p>}
        <Body note={note} />
        {!open && (
          <p class="soft">
            Resolved by {nameOf(note.resolved_by ?? "")}
            {note.resolution && `: ${note.resolution}`}
          </p>
        )}
        {replies.length > 0 && (
          <ol class="replies" aria-label="Replies">
            {replies.map((reply) => (
              <li key={reply.annotation_id}>
                <strong>{reply.author_name}</strong>
                <Body note={reply} />
              </li>
            ))}
          </ol>
        )}
        {writes.value ? (
          <div class="reply">
            <Writing
              label={writes.value === "reply" ? `Reply to note ${number}` : `How was note ${number} answered? (may stay empty)`}
              rows={2}
              value={answer.value}
              onValue={(text) => (answer.value = text)}
              onSend={send}
            />
            <div class="actions">
              <button type="button" class="button small primary" onClick={send}>
                {writes.value === "reply" ? "Send reply" : "Resolve"}
              </button>
              <button type="button" class="button small" onClick={() => (writes.value = "")}>
                Cancel
              </button>
            </div>
          </div>
        ) : (
          mayWrite.value && (
            <div class="actions">
              {may(note, "reply") && <Small label="Reply" run={() => open_(writes, "reply", note)} />}
              {may(note, "resolve") && <Small label="Resolve" run={() => open_(writes, "resolve", note)} />}
              {may(note, "reopen") && <Small label="Reopen" run={() => change(`${at}/reopen`, {}, "Open again.")} />}
              {may(note, "withdraw") && <Small label="Withdraw" run={() => change(`${at}/withdraw`, {}, "Withdrawn.")} />}
            </div>
          )
        )}
      </article>
    </li>
  );
}

function open_(writes: { value: "" | "reply" | "resolve" }, how: "reply" | "resolve", note: Annotation): void {
  writes.value = how;
  focusOn(`#n-${note.annotation_id} .reply textarea`);
}

const may = (note: Annotation, what: Annotation["may"][number]) => note.may.includes(what);

function replyTo(note: Annotation, body: string) {
  const { version_id, audience, annotation_id } = note;
  return { version_id, body, kind: "note", audience, reply_to: annotation_id };
}

function Small({ label, run }: { label: string; run: () => unknown }) {
  return (
    <button type="button" class="button small quiet" onClick={() => void run()}>
      {label}
    </button>
  );
}

/** A note's text, mentions set off; when it was written, and whether it was edited, with a way to edit one's own. */
function Body({ note }: { note: Annotation }) {
  const text = useSignal<string | null>(null);
  const save = async () => {
    if (text.value?.trim() && (await change(`/api/annotations/${note.annotation_id}`, { body: text.value.trim() }, "", "PATCH"))) text.value = null;
  };
  if (text.value !== null) {
    return (
      <div class="reply">
        <Writing label="Edit" rows={2} value={text.value} onValue={(next) => (text.value = next)} onSend={save} />
        <div class="actions">
          <button type="button" class="button small primary" onClick={save}>Save</button>
          <button type="button" class="button small" onClick={() => (text.value = null)}>Cancel</button>
        </div>
      </div>
    );
  }
  return (
    <>
      <p class="body">
        {note.body.split(/(@[\w.-]*\w)/).map((part, index) =>
          index % 2 && note.mentions.includes(part.slice(1)) ? <span class="mention" title={part}>{nameOf(part.slice(1))}</span> : part,
        )}
      </p>
      <p class="soft time">
        <time dateTime={note.created_at}>{ago(note.created_at)}</time>
        {note.edited_at && " · edited"}
        {may(note, "edit") && mayWrite.value && (
          <button type="button" class="link" onClick={() => (text.value = note.body)}>
            Edit
          </button>
        )}
      </p>
    </>
  );
}

// ---------------------------------------------------------------------------------------------------- writing

/** What was begun on a version waits there until one comes back to it. */
const begun = new Map<string, string>();

function Write() {
  const one = version.value!;
  const text = useSignal(begun.get(one.version_id) ?? "");
  const kind = useSignal<Kind>("must_fix");
  const audience = useSignal("");
  const busy = useSignal(false);
  const problem = useSignal("");
  const roles = me.value.roles.filter((role) => role !== "viewer");
  /** Who is to fix something must see it, so what is for one role alone can be no must-fix. */
  const limitTo = (role: string) => {
    audience.value = role;
    if (role && kind.value === "must_fix") kind.value = "suggestion";
  };
  const send = async () => {
    if (busy.value) return;
    if (!text.value.trim()) {
      problem.value = "Say what you see.";
      return;
    }
    busy.value = true;
    const { version_id } = one;
    const [said, drawn] = [text.value, draft.value];
    const note = {
      version_id,
      body: said.trim(),
      target: drawn && write(drawn, one),
      kind: kind.value,
      audience: audience.value || null,
    };
    try {
      const made = await post<{ annotation_id: string }>(`/api/packages/${room.value.package_id}/annotations`, note);
      problem.value = "";
      // the next note may have been begun while the server took this one: it stays
      if (begun.get(version_id) === said) begun.delete(version_id);
      if (text.value === said) text.value = "";
      if (draft.value === drawn) draft.value = player.range.value = null;
      await rereadNotes();
      activeNote.value = made.annotation_id;
      say("Noted.");
    } catch (error) {
      problem.value = (error as Error).message;
    }
    busy.value = false;
  };
  return (
    <form id="write" class="write" onSubmit={(event) => (event.preventDefault(), void send())}>
      <Writing
        label="New note"
        value={text.value}
        problem={problem.value}
        onValue={(next) => {
          text.value = next;
          problem.value = "";
          begun.set(one.version_id, next);
        }}
        onSend={send}
        onFocus={() => {
          if (!draft.value && (player.plays.value || (one.technical.pages ?? 1) > 1)) draft.value = here();
        }}
      />
      {draft.value && describe(draft.value) && (
        <p class="where">
          <span class="badge">{describe(draft.value)}</span>{" "}
          <button type="button" class="link" onClick={() => (draft.value = null)}>
            On the whole version instead
          </button>
        </p>
      )}
      <div class="kinds" role="radiogroup" aria-label="Kind of note">
        {(Object.keys(KINDS) as Kind[]).map((one) => (
          <label key={one} class={one === "must_fix" && audience.value ? "kind off" : `kind ${one}`}>
            <input
              type="radio"
              name="kind"
              value={one}
              checked={kind.value === one}
              disabled={one === "must_fix" && audience.value !== ""}
              onChange={() => (kind.value = one)}
            />
            {KINDS[one]}
          </label>
        ))}
      </div>
      <div class="actions">
        <button class="button small primary" disabled={busy.value}>
          Add note
        </button>
        {roles.length > 0 && (
          <label class="audience">
            <span class="hidden">Who sees it</span>
            <select value={audience.value} onChange={(event) => limitTo(event.currentTarget.value)}>
              <option value="">Everybody sees it</option>
              {roles.map((role) => (
                <option key={role} value={role}>
                  Only {plain(role)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
    </form>
  );
}

/** Go to the next or the last note, in the order of the list. */
export function stepNote(by: number): void {
  const list = shownThreads.peek().filter(({ note }) => showsResolved.peek() || note.status === "open").sort(inOrder);
  if (!list.length) return say("There are no open notes on this version.");
  const at = list.findIndex(({ note }) => note.annotation_id === activeNote.peek());
  const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : (at + by + list.length) % list.length]!;
  select(next);
  const { note, number, place } = next;
  say(`Note ${number} by ${note.author_name}, ${KINDS[note.kind]}${describe(place) && `, ${describe(place)}`}: ${note.body}`);
}
