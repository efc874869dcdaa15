// One key for everything; each is listed here once, for the page and for its help.
import { signal } from "@preact/signals";
import { pagesOf } from "../shared/api";
import { judgeByKey, sign, undoMine } from "./deciding";
import * as draw from "./draw";
import { fillIn } from "./fill";
import { fills } from "./purpose";
import { stepNote } from "./notes";
import * as player from "./player";
import { controls } from "./stage";
import { activeNote, choose, chosen, draft, focusOn, isFocusing, page, shownId, step, tab, turnTo, version } from "./state";

interface Key {
  keys: string[];
  does: string;
  run: (event: KeyboardEvent) => unknown;
  /** Only while there is something to do it to. */
  when?: () => boolean;
}

export const help = signal(false);
/** Single keys can be switched off, for people who speak to their machine (WCAG 2.1.4). */
export const listening = signal(localStorage.getItem("room-keys") !== "off");

const plays = () => player.plays.peek();
const drawing = () => draw.tool.peek() !== "move";
const turns = () => (version.peek() ? pagesOf(version.peek()!) > 1 : false);
const open = (name: typeof tab.value, selector: string) => {
  tab.value = name;
  focusOn(selector);
};

export const KEYS: { title: string; keys: Key[] }[] = [
  {
    title: "Look",
    keys: [
      { keys: ["j"], does: "next version", run: () => step(1) },
      { keys: ["k"], does: "version before", run: () => step(-1) },
      { keys: ["+", "="], does: "zoom in", run: () => controls.peek()?.zoom(1.5), when: () => controls.peek() !== null },
      { keys: ["-"], does: "zoom out", run: () => controls.peek()?.zoom(1 / 1.5), when: () => controls.peek() !== null },
      { keys: ["0"], does: "fit", run: () => controls.peek()?.fit(), when: () => controls.peek() !== null },
      { keys: ["PageDown", "]"], does: "next page", run: () => turnTo(page.peek() + 1), when: turns },
      { keys: ["PageUp", "["], does: "page before", run: () => turnTo(page.peek() - 1), when: turns },
    ],
  },
  {
    title: "Film and sound",
    keys: [
      { keys: [" "], does: "play, pause", run: player.toggle, when: plays },
      { keys: [","], does: "a frame back", run: () => player.stepBy(-1), when: plays },
      { keys: ["."], does: "a frame on", run: () => player.stepBy(1), when: plays },
      { keys: ["<"], does: "ten frames back", run: () => player.stepBy(-10), when: plays },
      { keys: [">"], does: "ten frames on", run: () => player.stepBy(10), when: plays },
      { keys: ["i"], does: "a note begins here", run: () => player.setEdge("in"), when: plays },
      { keys: ["o"], does: "a note ends here", run: () => player.setEdge("out"), when: plays },
    ],
  },
  {
    title: "Notes",
    keys: [
      ...draw.TOOLS.map(({ tool, key, label }) => ({ keys: [key], does: tool === "move" ? "move, draw nothing" : `draw: ${label.toLowerCase()}`, run: () => takeTool(tool) })),
      { keys: ["m"], does: "write a note", run: () => open("notes", "#write textarea") },
      { keys: ["n"], does: "next note", run: () => (tab.value = "notes", stepNote(1)) },
      { keys: ["N"], does: "note before", run: () => (tab.value = "notes", stepNote(-1)) },
    ],
  },
  {
    title: "Fill in",
    keys: [{ keys: ["e"], does: "fill in what this version lacks", run: fillIn, when: () => fills.peek() }],
  },
  {
    title: "Decide",
    keys: [
      { keys: ["a"], does: "approve this version, or the selected ones", run: () => judgeByKey("approve") },
      { keys: ["c"], does: "request changes to it", run: () => judgeByKey("request_changes") },
      { keys: ["r"], does: "reject it", run: () => judgeByKey("reject") },
      { keys: ["s"], does: "select this version", run: () => choose(shownId.peek()) },
      { keys: ["A"], does: "sign: approve the package", run: () => sign("approve") },
      { keys: ["C"], does: "sign: request changes", run: () => sign("request_changes") },
      { keys: ["R"], does: "sign: reject the package", run: () => sign("reject") },
      { keys: ["z"], does: "take my signature back", run: undoMine },
    ],
  },
  {
    title: "Anywhere",
    keys: [
      { keys: ["d"], does: "seats and decision", run: () => open("decide", "#tab-decide") },
      { keys: ["?"], does: "these keys", run: () => (help.value = !help.peek()) },
      { keys: ["Escape"], does: "stop drawing, close, select nothing", run: escape },
    ],
  },
];

function takeTool(tool: draw.Tool): void {
  draw.take(tool);
  document.getElementById("stage")?.focus();
  if (tool !== "move") draw.nudge(0, 0); // the crosshair shows where keys would draw
}

function escape(): void {
  if (help.peek()) help.value = false;
  else if (draw.cancel()) return;
  else if (draft.peek()) draft.value = null;
  else if (chosen.peek().size) chosen.value = new Set();
  else activeNote.value = null;
}

const table = new Map(KEYS.flatMap(({ keys }) => keys).flatMap((key) => key.keys.map((name): [string, Key] => [name, key])));
const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const typing = target.closest("input:not([type=range], [type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  if (event.defaultPrevented || isFocusing() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") (typing as HTMLElement).blur();
    return;
  }
  if (target.closest("#stage") && onStage(event)) return event.preventDefault();
  const pressesButton = (event.key === " " || event.key === "Enter") && target.closest("button, a, summary, input");
  const key = table.get(event.key);
  if (!key || pressesButton || (key.when && !key.when())) return;
  if (!listening.peek() && event.key.length === 1 && event.key !== "?") return;
  event.preventDefault();
  key.run(event);
}

/** Arrows and Enter on the stage: draw where there is a tool, else move the picture or step through the film. */
function onStage(event: KeyboardEvent): boolean {
  const arrow = ARROWS[event.key];
  if (drawing()) {
    const by = event.shiftKey ? 5 : 1;
    if (arrow) draw.nudge(arrow[0] * by, arrow[1] * by);
    else if (event.key === "Enter") draw.enter();
    else return false;
    return true;
  }
  if (!arrow) return false;
  if (plays()) player.stepBy(arrow[0] * (event.shiftKey ? 10 : 1) || -arrow[1] * 10);
  else controls.peek()?.pan(arrow[0], arrow[1]);
  return true;
}
