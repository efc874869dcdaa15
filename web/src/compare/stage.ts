// The stage: how the two are laid, and the keys.
type Mode = "sides" | "swipe" | "overlay" | "difference";
const MODES: Mode[] = ["sides", "swipe", "overlay", "difference"];

// Where keys are letters.
const TYPING = "input:not([type=range]), select, textarea";

/** Hear keys, wherever they are no letters of something that is being written, and no commands of the browser. */
export function onKey(act: (event: KeyboardEvent, target: HTMLElement) => void): void {
  document.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (!event.ctrlKey && !event.metaKey && !event.altKey && !target.closest(TYPING)) act(event, target);
  });
}

let hides: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  const live = document.getElementById("live")!;
  live.textContent = text;
  live.classList.add("shown");
  clearTimeout(hides);
  hides = setTimeout(() => live.classList.remove("shown"), 8000);
}

export function one<E extends HTMLElement>(within: ParentNode, selector: string): E {
  const found = within.querySelector<E>(selector);
  if (!found) throw new Error(`${selector} is missing`);
  return found;
}

export function press(stage: HTMLElement, what: string): void {
  stage.querySelector<HTMLButtonElement>(`[data-do="${what}"]`)?.click();
}

// Every change of mode is told to the stage as an event, so that views can follow.
export function modes(stage: HTMLElement): void {
  const buttons = [...stage.querySelectorAll<HTMLButtonElement>("[role=radio][data-mode]")];
  const choose = (mode: string): void => {
    stage.dataset.mode = mode;
    for (const button of buttons) {
      const chosen = button.dataset.mode === mode;
      button.setAttribute("aria-checked", String(chosen));
      button.tabIndex = chosen ? 0 : -1;
    }
    for (const slide of stage.querySelectorAll<HTMLElement>(".slide")) slide.hidden = slide.dataset.for !== mode;
    stage.dispatchEvent(new CustomEvent("mode", { detail: mode }));
  };
  for (const [at, button] of buttons.entries()) {
    button.addEventListener("click", () => choose(button.dataset.mode!));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      const next = buttons[(at + step + buttons.length) % buttons.length]!;
      next.focus();
      next.click();
    });
  }
  slide(stage, "swipe", "--at", (value) => `${value}%`);
  slide(stage, "overlay", "--over", (value) => String(value / 100));
  handle(stage);
  for (const hidden of stage.querySelectorAll<HTMLElement>(".bar, .transport")) hidden.hidden = false;
  choose("sides");
}

function slide(stage: HTMLElement, mode: Mode, property: string, told: (value: number) => string): void {
  const label = one(stage, `.slide[data-for="${mode}"]`);
  const input = one<HTMLInputElement>(label, "input");
  const set = (): void => {
    stage.style.setProperty(property, told(Number(input.value)));
    one(label, "[data-value]").textContent = `${Math.round(Number(input.value))} %`;
  };
  input.addEventListener("input", set);
  set();
}

// What parts the two while swiping can be dragged itself.
function handle(stage: HTMLElement): void {
  const panes = one(stage, ".panes");
  const bar = document.createElement("div");
  bar.className = "handle";
  bar.setAttribute("aria-hidden", "true");
  panes.append(bar);
  const input = one<HTMLInputElement>(stage, '.slide[data-for="swipe"] input');
  bar.addEventListener("pointerdown", (down) => {
    down.preventDefault();
    bar.setPointerCapture(down.pointerId);
  });
  bar.addEventListener("pointermove", (move) => {
    if (!bar.hasPointerCapture(move.pointerId)) return;
    const { left, width } = panes.getBoundingClientRect();
    input.value = String(Math.max(0, Math.min(100, (100 * (move.clientX - left)) / width)));
    input.dispatchEvent(new Event("input"));
  });
}

export function keys(stage: HTMLElement): void {
  onKey((event, target) => {
    const mode = MODES[Number(event.key) - 1];
    if (mode) one(stage, `[role=radio][data-mode="${mode}"]`).click();
    else if (event.key === "?") {
      const help = one<HTMLDetailsElement>(document, ".keys");
      help.open = !help.open;
    } else if (event.key.toLowerCase() === "x") one(document, "[data-swap]").click();
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const input = stage.querySelector<HTMLInputElement>(`.slide[data-for="${stage.dataset.mode}"] input`);
      if (!input || target.matches("input[type=range], [role=radio]")) return;
      input.value = String(Number(input.value) + (event.key === "ArrowLeft" ? -2 : 2));
      input.dispatchEvent(new Event("input"));
    } else return;
    event.preventDefault();
  });
}
