// Completing metadata: just the fields that the version shown lacks, and signing that it is done.
import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import "./fill.css";
import { get, post, root, type Failure } from "../shared/api";
import { incomplete, lacks } from "./purpose";
import { focusOn, isOpen, me, mySeat, nameOf, reread, room, say, show, shownId, tab, version } from "./state";
import { Terms } from "./terms";
import type { VerdictName } from "./types";
import { capital, count, plain, short } from "./words";

type Value = string | string[];

interface Input {
  name: string;
  label: string;
  input: "text" | "textarea" | "select" | "terms" | "words" | "date" | "number";
  options: string[];
  facet: string;
}

interface Fault {
  field: string;
  problem: string;
  remedy: string;
  severity: "must" | "should";
}

interface ToFill {
  columns: { key: string; label: string; inputs: Input[] }[];
  row: { values: Record<string, unknown>; cells: Record<string, Fault[]>; other: Fault[] } | null;
}

interface Saved {
  saved: string[];
  refused: Record<string, { field: string; what: string; remedy: string }>;
  missing: Record<string, Fault[]>;
}

/** What was typed and is not saved yet, by version: looking at another one loses nothing. */
const typed = signal<Record<string, Record<string, Value>>>({});
const typedOf = (version_id: string) => typed.value[version_id] ?? {};
const type = (version_id: string, name: string, value: Value) => (typed.value = { ...typed.value, [version_id]: { ...typedOf(version_id), [name]: value } });
const forget = (version_id: string) => (typed.value = Object.fromEntries(Object.entries(typed.value).filter(([id]) => id !== version_id)));
addEventListener("beforeunload", (event) => Object.keys(typed.peek()).length && event.preventDefault());

/** The caret goes into the first field once the form is there. */
let caret = false;
const FIRST = "#fill :is(input, textarea, select)";

/** A key: go on filling in what the version shown lacks. */
export function fillIn(): void {
  tab.value = "fill";
  caret = document.querySelector(FIRST) === null;
  focusOn(FIRST);
}

const table = () => `${root}/librarian/${room.value.batch_id}`;

// ------------------------------------------------------------------------------------------------ filling in

export function Fill() {
  const one = version.value!;
  const told = useSignal<ToFill | null>(null);
  const problem = useSignal<{ field: string; text: string } | null>(null);
  const busy = useSignal(false);
  const read = () =>
    get<ToFill>(`/api/packages/${room.peek().package_id}/versions/${one.version_id}/missing`)
      .then((found) => {
        if (shownId.peek() !== one.version_id) return;
        told.value = found;
        if (caret && found.row) focusOn(FIRST);
        caret = false;
      })
      .catch((error: Error) => void (problem.value = { field: "", text: error.message }));
  const known = lacks(one.version_id).join(" ");
  useEffect(() => {
    problem.value = null;
    void read();
  }, [one.version_id, known]);
  const save = async (event: Event) => {
    event.preventDefault();
    const values = changes(one.version_id, told.peek());
    if (!Object.keys(values).length) return say("There is nothing new to save.");
    busy.value = true;
    try {
      const done = await post<Saved>(`/api/batches/${room.peek().batch_id}/metadata`, { rows: { [one.version_id]: values } });
      const refused = done.refused[one.version_id];
      problem.value = refused ? { field: refused.field, text: [refused.what, refused.remedy].filter(Boolean).join(". ") } : null;
      if (refused) {
        say(`${capital(plain(refused.field))} ${problem.value!.text}`.trim());
        document.querySelector<HTMLElement>(`.fill [name="${CSS.escape(refused.field)}"]`)?.focus();
      } else {
        forget(one.version_id);
        refusal.value = "";
        await reread();
        await read();
        goOn(one.version_id, done.missing[one.version_id]);
      }
    } catch (error) {
      problem.value = { field: "", text: (error as Error).message };
      say((error as Error).message);
    }
    busy.value = false;
  };
  return (
    <div class="fill">
      <h3>
        {one.asset} v{one.number}
      </h3>
      <Left />
      {problem.value && !problem.value.field && <p class="wrong">{problem.value.text}</p>}
      {told.value && !told.value.row && <p class="empty small">Nothing is missing.</p>}
      {told.value?.row && (
        <form id="fill" onSubmit={(event) => void save(event)} noValidate>
          {told.value.row.other.map((fault) => (
            <p class="cannot" key={fault.field}>
              <strong>{capital(plain(fault.field))}</strong> {fault.problem} {fault.remedy}
            </p>
          ))}
          {told.value.columns.map((column) => (
            <Column key={column.key} column={column} of={told.value!.row!} problem={problem.value} />
          ))}
          {room.value.may_fill && told.value.columns.length > 0 && (
            <div class="actions">
              <button class="button primary" disabled={busy.value}>
                Save
              </button>
            </div>
          )}
        </form>
      )}
    </div>
  );
}

/** What a version says anew; what belongs to a licence is said together. */
function changes(version_id: string, told: ToFill | null): Record<string, Value> {
  const said = typedOf(version_id);
  const values: Record<string, Value> = {};
  for (const { inputs } of told?.columns ?? []) {
    if (!inputs.some(({ name }) => name in said)) continue;
    for (const input of inputs) {
      const value = said[input.name] ?? asValue(told!.row!.values[input.name]);
      const words = input.input === "words" && typeof value === "string" ? value.split(/[,;|]/).map((word) => word.trim()).filter(Boolean) : value;
      if (words.length) values[input.name] = typeof words === "string" ? words.trim() : words;
    }
  }
  return values;
}

const asValue = (value: unknown): Value => (Array.isArray(value) ? value.map(String) : value === null || value === undefined ? "" : String(value));

/** Say what became of it, and go to the next version that lacks something. */
function goOn(version_id: string, still: Fault[] | undefined): void {
  if (still?.length) return say(`Saved. ${count(still.length, "field")} of it still ${still.length === 1 ? "lacks" : "lack"}.`);
  const next = incomplete.peek().find((one) => one.version_id !== version_id);
  say(next ? `Saved, and complete. ${count(incomplete.peek().length, "version")} left.` : "Saved. Everything is complete: sign that it is done.");
  if (!next) return void (tab.value = "decide");
  caret = true;
  show(next.version_id);
}

function Left() {
  const left = incomplete.value.length;
  return (
    <p class="soft" id="left">
      {left ? `${left} of ${count(room.value.versions.length, "version")} incomplete.` : "Every version is complete."} <a href={table()}>Fill in many at once, or by CSV</a>
    </p>
  );
}

interface ColumnProps {
  column: ToFill["columns"][number];
  of: NonNullable<ToFill["row"]>;
  problem: { field: string; text: string } | null;
}

function Column({ column, of, problem }: ColumnProps) {
  const why = of.cells[column.key]?.map((fault) => `${capital(fault.problem)} ${fault.remedy}${fault.severity === "should" ? " (advice)" : ""}`).join(" ");
  const fields = column.inputs.map((input) => <Field key={input.name} input={input} of={of} problem={problem?.field === input.name ? problem.text : ""} />);
  if (column.inputs.length === 1) {
    return (
      <div class="field">
        {fields}
        <p class="why">{why}</p>
      </div>
    );
  }
  return (
    <fieldset>
      <legend class="name">{capital(column.label)}</legend>
      <p class="why">{why}</p>
      {fields}
    </fieldset>
  );
}

function Field({ input, of, problem }: { input: Input; of: NonNullable<ToFill["row"]>; problem: string }) {
  const { version_id } = version.value!;
  const id = `fill-${input.name}`;
  const value = typedOf(version_id)[input.name] ?? asValue(of.values[input.name]);
  const told = problem ? `wrong-${input.name}` : undefined;
  const shared = { id, name: input.name, disabled: !room.value.may_fill, "aria-invalid": problem ? ("true" as const) : undefined, "aria-describedby": told };
  const text = Array.isArray(value) ? value.join(", ") : value;
  const set = (event: { currentTarget: { value: string } }) => type(version_id, input.name, event.currentTarget.value);
  return (
    <>
      <label class="name" for={id}>
        {capital(input.label)}
      </label>
      {input.input === "textarea" ? (
        <textarea {...shared} rows={2} value={text} onInput={set} />
      ) : input.input === "select" ? (
        <select {...shared} value={text} onChange={set}>
          <option value="">–</option>
          {input.options.map((one) => (
            <option key={one} value={one}>
              {plain(one)}
            </option>
          ))}
        </select>
      ) : input.input === "terms" ? (
        <Terms
          id={id}
          name={input.name}
          facet={input.facet}
          disabled={shared.disabled}
          chosen={Array.isArray(value) ? value : value ? [value] : []}
          invalid={told}
          onChange={(chosen) => type(version_id, input.name, chosen)}
        />
      ) : input.input === "date" ? (
        <input {...shared} type="date" value={text} onInput={set} />
      ) : (
        <input {...shared} type="text" inputMode={input.input === "number" ? "numeric" : undefined} value={text} onInput={set} />
      )}
      {problem && (
        <p class="wrong" id={told}>
          {problem}
        </p>
      )}
    </>
  );
}

// --------------------------------------------------------------------------------------------------- signing

const comment = signal("");
const refusal = signal("");
const signing = signal(false);

export function Finish() {
  const seat = mySeat.value!;
  const { versions, manifest_sha256 } = room.value;
  const behalf = seat.deputies[me.value.username];
  const left = incomplete.value;
  return (
    <form id="decision" data-seat={seat.seat_id} onSubmit={(event) => (event.preventDefault(), void finish((event.submitter as HTMLButtonElement | null)?.value as VerdictName))}>
      <h3>
        Your signature as {plain(seat.role)}
        {behalf && `, standing in for ${nameOf(behalf)}`}
      </h3>
      <p class="soft">
        {left.length ? `${left.length} of ${count(versions.length, "version")} incomplete:` : `All ${count(versions.length, "version")} complete.`}
      </p>
      {left.length > 0 && (
        <ul class="left">
          {left.slice(0, 20).map((one) => (
            <li key={one.version_id}>
              <button type="button" class="link" onClick={() => (show(one.version_id), (tab.value = "fill"))}>
                {one.asset} v{one.number}
              </button>{" "}
              <span class="soft">{lacks(one.version_id).length} missing</span>
            </li>
          ))}
          {left.length > 20 && <li class="soft">and {left.length - 20} more</li>}
        </ul>
      )}
      <label>
        Comment
        <textarea name="comment" rows={2} maxLength={4000} value={comment.value} onInput={(event) => (comment.value = event.currentTarget.value)} />
      </label>
      {refusal.value && (
        <p class="wrong" id="decision-problem" role="alert">
          {refusal.value}
        </p>
      )}
      <div class="actions verdicts">
        <button class="button primary" name="verdict" value="approve" disabled={signing.value}>
          Done <kbd>⇧A</kbd>
        </button>
        <button class="button" name="verdict" value="reject" disabled={signing.value}>
          Leave the rest out <kbd>⇧R</kbd>
        </button>
      </div>
      <p class="soft">
        What is complete goes on to review; this approves nothing. You sign <code title={manifest_sha256}>{short(manifest_sha256)}…</code>: the bytes as shown, and the hash of
        their metadata by then.
      </p>
    </form>
  );
}

/** Sign; the server refuses "Done" while something is missing. */
export async function finish(verdict: VerdictName): Promise<void> {
  const seat = mySeat.peek();
  if (!seat || signing.peek()) return;
  tab.value = "decide";
  if (verdict === "request_changes") return say("Nothing is sent back here: fill it in, or leave it out.");
  const unsaved = Object.keys(typed.peek()).find((id) => room.peek().versions.some((one) => one.version_id === id));
  if (unsaved) {
    show(unsaved);
    tab.value = "fill";
    return say("Save first: there are values that are not saved.");
  }
  signing.value = true;
  try {
    await post(`/api/seats/${seat.seat_id}/decision`, { verdict, comment: comment.peek().trim() });
    comment.value = refusal.value = "";
    await reread().catch(() => undefined);
    say(isOpen.peek() ? "Signed. It is in the record under your name." : "Signed. What is complete goes on.");
  } catch (error) {
    refusal.value = (error as Failure).message;
    say(refusal.value);
  }
  signing.value = false;
}
