// Deciding: verdicts on single versions, the signature for the package, and taking it back.
import { batch, signal } from "@preact/signals";
import { post, root, type Failure } from "../shared/api";
import { finish, Finish } from "./fill";
import { fills, given } from "./purpose";
import { Seats } from "./seats";
import { judge, meant } from "./strip";
import {
  act, chosen, focusOn, isOpen, mark, marks, me, mySeat, nameOf, openMustFixes, reread, room, say, show, signedSeat, tab, version, type Mark,
} from "./state";
import type { VerdictName, Version } from "./types";
import { count, plain, short, VERDICTS, VERDICTS_ON_BRIEF } from "./words";

const comment = signal("");
const condition = signal<string | null>(null);
const problem = signal("");
const busy = signal(false);

const KEYS: Record<VerdictName, string> = { approve: "a", request_changes: "c", reject: "r" };
const NAMES = Object.keys(VERDICTS) as VerdictName[];
/** What a verdict's button says that it does. */
const does = (name: VerdictName) => (room.value.brief ? VERDICTS_ON_BRIEF : VERDICTS)[name];
const called = (one: Version) => `${one.asset} v${one.number}`;

// ------------------------------------------------------------------------------------------- single versions

/** Under the proof: a verdict on this version, or on all selected ones, in one keystroke. */
export function VersionVerdict() {
  const one = version.value;
  if (!mySeat.value || !one || fills.value) return null;
  if (room.value.brief) return <ToDeciding />;
  const bulk = chosen.value.size;
  const own = marks.value[one.version_id];
  return (
    <form class="single" onSubmit={(event) => event.preventDefault()} aria-label={bulk ? "Verdict on the selected versions" : "Verdict on this version"}>
      <span class="for">{bulk ? count(bulk, "selected version") : "This version"}</span>
      <div class="choices" role="group" aria-label="Verdict">
        {NAMES.map((name) => (
          <button
            type="button"
            key={name}
            class={`button small ${name}`}
            aria-pressed={!bulk && own?.verdict === name}
            aria-keyshortcuts={KEYS[name]}
            onClick={() => judge(name)}
          >
            {VERDICTS[name]} <kbd>{KEYS[name]}</kbd>
          </button>
        ))}
      </div>
      {!bulk && own && own.verdict !== "approve" && (
        <label class="why">
          <span class="hidden">Why</span>
          <input
            value={own.comment}
            maxLength={4000}
            placeholder={own.verdict === "reject" ? "Why is it rejected?" : "What should change?"}
            onInput={(event) => mark([one.version_id], own.verdict, event.currentTarget.value)}
          />
        </label>
      )}
      <button type="button" class="button small primary sign" onClick={() => (tab.value = "decide")}>
        Sign the package
      </button>
    </form>
  );
}

/** Under a brief: it is one document, so there is one verdict, and no other on single versions. */
function ToDeciding() {
  return (
    <div class="single">
      <span class="for">Brief {room.value.brief!.number}</span>
      <button type="button" class="button small primary sign" onClick={() => (tab.value = "decide")}>
        Sign it or send it back
      </button>
    </div>
  );
}

/** A key: mark what is meant, and put the caret where the reason is missing. */
export function judgeByKey(name: VerdictName): void {
  if (!mySeat.peek()) return say(whyNot());
  if (fills.peek()) return say("Whether a version is complete is for its contract to say.");
  if (room.peek().brief) return say(`A brief is signed as one: shift and ${KEYS[name].toUpperCase()} decides.`);
  const ids = meant();
  judge(name);
  const set = ids.every((id) => marks.peek()[id]?.verdict === name);
  const which = ids.length > 1 ? count(ids.length, "version") : called(version.peek()!);
  say(set ? `${which}: ${VERDICTS[name].toLowerCase()}. It counts when you sign.` : `${which}: as the package.`);
  if (set && ids.length === 1 && name !== "approve") focusOn(".single .why input");
}

// ----------------------------------------------------------------------------------------------- the package

export function Decide() {
  return (
    <>
      {signedSeat.value ? <MySignature /> : mySeat.value ? fills.value ? <Finish /> : <Signing /> : room.value.status === "in_review" && <p class="soft">{whyNot()}</p>}
      <h3>Seats</h3>
      <Seats />
      <Outside />
    </>
  );
}

/** What leaves the room: the signed record, and the door for reviewers from outside. */
function Outside() {
  const at = `${root}/packages/${room.value.package_id}`;
  return (
    <p class="soft outside">
      Signed record: <a href={`${at}/record.pdf`}>PDF</a>, <a href={`${at}/record.json`}>JSON</a>
      {me.value.reopens && (
        <>
          {" · "}
          <a href={`${at}/guests`}>External reviewers</a>
        </>
      )}
    </p>
  );
}

/** Say why I can't sign. */
function whyNot(): string {
  const { username, writes } = me.value;
  if (!isOpen.value) return "This review is over.";
  if (signedSeat.value) return "You have signed. Take it back to sign otherwise.";
  if (!writes) return "You have no open seat in this package: viewers look only.";
  if (room.value.makers.includes(username)) return "You made or sent a part of this package, so others must sign it.";
  const waiting = room.value.seats.find((seat) => seat.status === "waiting" && seat.eligible.includes(username));
  if (waiting) return `Your seat as ${plain(waiting.role)} opens later. ${waiting.reason ?? "An earlier stage has not closed."}`;
  return "You have no open seat in this package.";
}

function Signing() {
  const seat = mySeat.value!;
  const { brief, versions, manifest_sha256 } = room.value;
  const own = Object.entries(marks.value).filter(([id]) => versions.some((one) => one.version_id === id));
  const behalf = seat.deputies[me.value.username];
  return (
    <form id="decision" data-seat={seat.seat_id} onSubmit={(event) => (event.preventDefault(), void sign((event.submitter as HTMLButtonElement | null)?.value as VerdictName))}>
      <h3>
        Your decision as {plain(seat.role)}
        {behalf && `, standing in for ${nameOf(behalf)}`}
      </h3>
      {own.length > 0 && <Own own={own} />}
      <p class="soft" id="differs">
        {brief
          ? `Signed, brief ${brief.number} holds and its deliverables are asked for. Otherwise it goes back to ${nameOf(brief.drafted_by)} with your comment and what must be fixed.`
          : own.length
          ? `It counts for ${versions.length - own.length} of ${count(versions.length, "version")}; ${own.length} ${own.length === 1 ? "has a verdict of its" : "have verdicts of their"} own.`
          : `It counts for all ${count(versions.length, "version")}.`}
      </p>
      <MustFixes />
      <label>
        Comment
        <textarea
          name="comment"
          rows={2}
          maxLength={4000}
          value={comment.value}
          aria-invalid={problem.value ? "true" : undefined}
          aria-describedby={problem.value ? "decision-problem" : undefined}
          onInput={(event) => ((comment.value = event.currentTarget.value), (problem.value = ""))}
        />
      </label>
      {problem.value && (
        <p class="wrong" id="decision-problem" role="alert">
          {problem.value}
        </p>
      )}
      <Condition />
      <div class="actions verdicts">
        {NAMES.map((name) => (
          <button key={name} class={`button ${name === "approve" ? "primary" : name === "reject" ? "danger" : ""}`} name="verdict" value={name} disabled={busy.value}>
            {name === "approve" && condition.value !== null ? `${does(name)} with the condition` : does(name)} <kbd>⇧{KEYS[name].toUpperCase()}</kbd>
          </button>
        ))}
      </div>
      <p class="soft">
        You sign <code title={manifest_sha256}>{short(manifest_sha256)}…</code>
        {brief ? ", with the hash of the brief's content that its pages print." : ": bytes, metadata and rights as shown."}
      </p>
    </form>
  );
}

function Own({ own }: { own: [string, Mark][] }) {
  const byId = new Map(room.value.versions.map((one) => [one.version_id, one]));
  return (
    <ul class="own" aria-label="Verdicts of their own">
      {own.map(([id, { verdict, comment }]) => (
        <li key={id}>
          <button type="button" class="link" onClick={() => show(id)}>
            {called(byId.get(id)!)}
          </button>{" "}
          <span class={`given ${verdict}`}>{VERDICTS[verdict]}</span> {comment && <span class="soft">{comment}</span>}
          <button type="button" class="remove" aria-label={`${called(byId.get(id)!)}: as the package`} onClick={() => mark([id], null)}>
            ×
          </button>
        </li>
      ))}
    </ul>
  );
}

/** The must-fixes that a request for changes freezes into the decision. */
function MustFixes() {
  const found = openMustFixes.value;
  if (!found.length) return null;
  const byId = new Map(room.value.versions.map((one) => [one.version_id, one]));
  return (
    <details class="mustfixes" open={found.length < 6}>
      <summary>{count(found.length, "open must-fix", "open must-fixes")}: {room.value.brief ? "sent back with it" : "frozen when you request changes"}</summary>
      <ul>
        {found.map(({ note, number }) => {
          const of = byId.get(note.version_id);
          return (
            <li key={note.annotation_id}>
              <button type="button" class="link" onClick={() => show(note.version_id)}>
                {of ? called(of) : "?"} · {number}
              </button>{" "}
              {note.body}
            </li>
          );
        })}
      </ul>
    </details>
  );
}

function Condition() {
  const on = condition.value !== null;
  return (
    <div class="conditional">
      <label class="check">
        <input type="checkbox" checked={on} onChange={(event) => (condition.value = event.currentTarget.checked ? "" : null)} /> {does("approve")} with a condition
      </label>
      {on && (
        <label>
          The condition: it stays open until somebody ticks it off
          <input value={condition.value!} maxLength={4000} onInput={(event) => ((condition.value = event.currentTarget.value), (problem.value = ""))} />
        </label>
      )}
    </div>
  );
}

/** Return what is missing for a verdict, and where it goes; nothing where it can be signed. */
function missing(verdict: VerdictName): [what: string, selector: string] | null {
  const said = comment.value.trim();
  const reasons = Object.values(marks.peek()).some((one) => one.comment.trim());
  if (verdict === "approve") {
    return condition.value !== null && !condition.value.trim() ? ["Say what the condition is.", ".conditional label:last-child input"] : null;
  }
  if (verdict === "reject" && !said && !reasons) return ["Say why it is rejected.", "#decision textarea"];
  if (verdict === "request_changes" && !said && !reasons && !openMustFixes.value.length) return ["Say what should change, or note a must-fix on a proof.", "#decision textarea"];
  return null;
}

export async function sign(verdict: VerdictName): Promise<void> {
  const seat = mySeat.peek();
  if (!seat) return say(whyNot());
  if (fills.peek()) return finish(verdict);
  tab.value = "decide";
  const lacks = missing(verdict);
  if (lacks) {
    problem.value = lacks[0];
    focusOn(lacks[1]);
    return say(lacks[0]);
  }
  if (busy.peek()) return;
  busy.value = true;
  const known = new Set(room.peek().versions.map((one) => one.version_id));
  const versions = Object.fromEntries(Object.entries(marks.peek()).filter(([id]) => known.has(id)));
  const conditions = verdict === "approve" ? condition.peek()?.trim() : undefined;
  const answer = { verdict, comment: comment.peek().trim(), versions, ...(conditions && { conditions }) };
  try {
    await post(`/api/seats/${seat.seat_id}/decision`, answer);
    batch(() => {
      comment.value = problem.value = "";
      condition.value = null;
      marks.value = {};
      chosen.value = new Set();
    });
    await reread().catch(() => undefined);
    const undo = { label: "Undo", run: () => void undoMine() };
    say("Signed. It is in the record under your name.", isOpen.peek() ? undo : undefined);
  } catch (error) {
    problem.value = (error as Failure).message;
    say(problem.value);
    const next = (error as Failure).told?.next_package_id;
    if (typeof next === "string") setTimeout(() => location.assign(`${root}/packages/${next}`), 1500);
  }
  busy.value = false;
}

// -------------------------------------------------------------------------------------------------- my signature

function MySignature() {
  const seat = signedSeat.value!;
  const own = seat.signatures.find((one) => one.person === me.value.username);
  return (
    <div class="mine" id="signed">
      <h3>You signed as {plain(seat.role)}</h3>
      {own && (
        <p>
          {given(own.verdict)}, for <code title={own.manifest_sha256}>{short(own.manifest_sha256)}…</code>
        </p>
      )}
      <div class="actions">
        {isOpen.value && (
          <button type="button" class="button" onClick={() => void undoMine()}>
            Take it back <kbd>z</kbd>
          </button>
        )}
        <a class="button" href={`${root}/approvals`}>
          My approvals
        </a>
      </div>
    </div>
  );
}

export async function undoMine(): Promise<void> {
  const seat = signedSeat.peek();
  if (!seat) return say("There is nothing to take back.");
  await act(() => post(`/api/seats/${seat.seat_id}/undo`).then(reread), "Taken back. The seat is open again.");
}
