// The review room: takes over from the page that the server rendered.
import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import "./room/room.css";
import { post, root } from "./shared/api";
import * as draw from "./room/draw";
import { Decide, VersionVerdict } from "./room/deciding";
import { Details } from "./room/facts";
import { Fill } from "./room/fill";
import { Help } from "./room/help";
import { help, onKey } from "./room/keys";
import { listen } from "./room/live";
import { Notes } from "./room/notes";
import { fills, incomplete, stands } from "./room/purpose";
import { Stage } from "./room/stage";
import { act, alsoHere, me, message, nameOf, openMustFixes, reread, room, say, shownThreads, tab, version, type Tab } from "./room/state";
import { Strip } from "./room/strip";
import type { Change, Purpose } from "./room/types";
import { count, short, when } from "./room/words";

function Room() {
  return (
    <>
      <Head />
      <div class="room">
        <Strip />
        <div class="middle">
          <Stage />
          <VersionVerdict />
        </div>
        <Side />
      </div>
      <Help />
    </>
  );
}

function Head() {
  const { campaign, of, brief, round, status, versions, frozen_at, manifest_sha256 } = room.value;
  const about = fills.value ? `Fill in ${of}` : (campaign ?? "Package") + (brief ? `: brief ${brief.number}` : "");
  return (
    <header class="head">
      <div>
        <h1>
          {about}, round {round} <span class={`badge state-${status}`}>{stands(status)}</span>
        </h1>
        <p class="soft">
          {brief ? `Drafted by ${nameOf(brief.drafted_by)}` : count(versions.length, "version")} · frozen {when(frozen_at)} · manifest <code title={manifest_sha256}>{short(manifest_sha256)}…</code>
        </p>
      </div>
      <div class="tail">
        {alsoHere.value.length > 0 && (
          <ul class="here" aria-label="Also here">
            {alsoHere.value.map((one) => (
              <li key={one} title={`${nameOf(one)} is here, too`}>
                <span aria-hidden="true">{initials(nameOf(one))}</span>
                <span class="hidden">{nameOf(one)}</span>
              </li>
            ))}
          </ul>
        )}
        <button type="button" class="button small" onClick={() => (help.value = true)}>
          Keys <kbd>?</kbd>
        </button>
      </div>
      <Notice />
    </header>
  );
}

const initials = (name: string) => name.split(/\s+/).slice(0, 2).map((part) => part[0]).join("").toUpperCase();

/** What it led to that nobody signed in time, by what the signatures are for. */
const SILENCE: Record<Purpose, string> = {
  release: "so nothing is approved",
  brief: "so the brief was sent back",
  metadata: "and what was not complete by then was left out",
};

/** What a person must know before anything else: the round is void, or ran out, or what changed since the last one. */
function Notice() {
  const { status, void_reason, next_package_id, lapsed, waits_for, changes, changed_since, previous_package_id } = room.value;
  const next = next_package_id && <a href={`${root}/packages/${next_package_id}`}>Go to the next round</a>;
  if (status === "void") {
    return (
      <div class="notice" role="alert">
        This round is void: {void_reason}. {next}
        <Changes of={changes} />
      </div>
    );
  }
  if (status === "expired" || lapsed) {
    return (
      <div class="notice" role="alert">
        Nobody signed every seat in time, {SILENCE[room.value.purpose]}. {next || (me.value.reopens ? <Ask label="Ask again" path="reopen" /> : "A marketing lead can ask again.")}
      </div>
    );
  }
  if (waits_for.length) {
    return (
      <div class="notice">
        What is approved waits for answers to {waits_for.join(", ")}. {me.value.reopens && <Ask label="Let it go out now" path="let-go" />}
      </div>
    );
  }
  if (!changed_since.length) return null;
  return (
    <details class="notice">
      <summary>
        What changed since <a href={`${root}/packages/${previous_package_id}`}>the round before</a>
      </summary>
      <Changes of={changed_since} />
    </details>
  );
}

function Changes({ of }: { of: Change[] }) {
  if (!of.length) return null;
  return (
    <ul class="changes">
      {of.map(({ version_id, asset, number, changes }) => (
        <li key={version_id}>
          <strong>
            {asset} v{number}
          </strong>{" "}
          {Object.values(changes).flat().join(" ")}
        </li>
      ))}
    </ul>
  );
}

/** A button for what a marketing lead may do to a package that stands still; leads on to the round that it opens. */
function Ask({ label, path }: { label: string; path: string }) {
  const ask = () =>
    act(async () => {
      const told = await post<{ next_package_id?: string }>(`/api/packages/${room.value.package_id}/${path}`);
      if (told.next_package_id) location.assign(`${root}/packages/${told.next_package_id}`);
      else await reread();
    });
  return (
    <button type="button" class="button small" onClick={() => void ask()}>
      {label}
    </button>
  );
}

const TABS: Tab[] = fills.peek() ? ["fill", "notes", "decide", "details"] : ["notes", "decide", "details"];

function Side() {
  const open = shownThreads.value.filter(({ note }) => note.status === "open").length;
  const labels: Record<Tab, string> = { fill: incomplete.value.length ? `Fill in ${incomplete.value.length}` : "Fill in", notes: open ? `Notes ${open}` : "Notes", decide: fills.value ? "Sign" : "Decide", details: "Details" };
  const pressed = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    tab.value = TABS[(TABS.indexOf(tab.value) + by + TABS.length) % TABS.length]!;
    requestAnimationFrame(() => document.getElementById(`tab-${tab.value}`)?.focus());
  };
  return (
    <aside class="side" aria-label="Notes, decision and details">
      <div class="tabs" role="tablist" onKeyDown={pressed}>
        {TABS.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`tab-${one}`}
            aria-controls="panel"
            aria-selected={tab.value === one}
            tabIndex={tab.value === one ? 0 : -1}
            onClick={() => (tab.value = one)}
          >
            {labels[one]}
            {one === "decide" && openMustFixes.value.length > 0 && (
              <span class="dot" title={count(openMustFixes.value.length, "open must-fix", "open must-fixes")}>
                {openMustFixes.value.length}
              </span>
            )}
          </button>
        ))}
      </div>
      <div id="panel" class="panel" role="tabpanel" aria-labelledby={`tab-${tab.value}`} tabIndex={0}>
        {version.value && tab.value === "fill" && <Fill />}
        {version.value && tab.value === "notes" && <Notes />}
        {tab.value === "decide" && <Decide />}
        {version.value && tab.value === "details" && <Details />}
      </div>
    </aside>
  );
}

// ---------------------------------------------------------------------------------------------------- start

const toast = document.getElementById("live")!;
let hides: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  const said = message.value;
  if (!said) return;
  toast.replaceChildren(said.text);
  if (said.act) {
    const { label, run } = said.act;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button small", textContent: label });
    button.addEventListener("click", () => (toast.classList.remove("shown"), run()));
    toast.append(" ", button);
  }
  toast.classList.add("shown");
  clearTimeout(hides);
  hides = setTimeout(() => toast.classList.remove("shown"), said.act ? 15_000 : 6_000);
});

/** Where the crosshair is, told to those who can't see it. */
let tells: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  const at = draw.cursor.value;
  clearTimeout(tells);
  if (at) tells = setTimeout(() => say(`${Math.round(at[0])} % across, ${Math.round(at[1])} % down. Enter draws, Escape stops.`), 700);
});

function App() {
  useEffect(() => {
    addEventListener("keydown", onKey);
    listen();
  }, []);
  return <Room />;
}

const place = document.getElementById("app")!;
place.replaceChildren();
render(<App />, place);
