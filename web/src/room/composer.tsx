// Where a note or an answer is written; mentions are completed after an @.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { room } from "./state";
import type { Person } from "./types";

interface Props {
  label: string;
  value: string;
  onValue: (text: string) => void;
  onSend: () => void;
  onFocus?: () => void;
  rows?: number;
  problem?: string;
}

/** The @word that the caret is at the end of. */
const MENTION = /(?:^|\s)@([\w.-]*)$/;

export function Writing({ label, value, onValue, onSend, onFocus, rows = 3, problem }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  const found = useSignal<Person[]>([]);
  const at = useSignal(0);
  const id = `w-${label.replaceAll(/\W/g, "")}`;
  const look = () => {
    const word = MENTION.exec(area.current!.value.slice(0, area.current!.selectionStart))?.[1]?.toLowerCase();
    const fits = ({ username, name }: Person) => word !== undefined && `${username} ${name}`.toLowerCase().includes(word);
    found.value = room.peek().people.filter(fits).slice(0, 6);
    at.value = 0;
  };
  const complete = (person: Person) => {
    const { selectionStart: caret, value: text } = area.current!;
    const before = text.slice(0, caret).replace(/@[\w.-]*$/, `@${person.username} `);
    onValue(before + text.slice(caret));
    found.value = [];
    requestAnimationFrame(() => {
      area.current!.focus();
      area.current!.setSelectionRange(before.length, before.length);
    });
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      return onSend();
    }
    const chosen = found.value[at.value];
    if (!chosen) return;
    if (event.key === "Enter" || event.key === "Tab") complete(chosen);
    else if (event.key === "Escape") found.value = [];
    else if (event.key === "ArrowDown") at.value = (at.value + 1) % found.value.length;
    else if (event.key === "ArrowUp") at.value = (at.value + found.value.length - 1) % found.value.length;
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const open = found.value.length > 0;
  return (
    <div class="writing">
      <label>
        {label}
        <textarea
          ref={area}
          rows={rows}
          maxLength={8000}
          value={value}
          aria-haspopup="listbox"
          aria-autocomplete="list"
          aria-controls={`${id}-people`}
          aria-activedescendant={open ? `${id}-${at.value}` : undefined}
          aria-invalid={problem ? "true" : undefined}
          aria-describedby={problem ? `${id}-problem` : undefined}
          placeholder="@ names somebody"
          onInput={(event) => (onValue(event.currentTarget.value), look())}
          onKeyDown={pressed}
          onFocus={onFocus}
          onBlur={() => (found.value = [])}
        />
      </label>
      {problem && (
        <p class="wrong" id={`${id}-problem`} role="alert">
          {problem}
        </p>
      )}
      <ul class="suggestions people" id={`${id}-people`} role="listbox" aria-label="People" hidden={!open}>
        {found.value.map((person, index) => (
          <li key={person.username} id={`${id}-${index}`} role="option" aria-selected={index === at.value} onMouseDown={(event) => (event.preventDefault(), complete(person))}>
            {person.name} <span class="soft">@{person.username}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
