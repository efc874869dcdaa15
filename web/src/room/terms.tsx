// Looking up terms of the vocabulary: a combobox (ARIA Authoring Practices, with list autocomplete). What is chosen
// stands before it as buttons that take it away again.
import { signal, useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { get } from "../shared/api";
import { say } from "./state";

interface Term {
  id: string;
  facet: string;
  label: string;
  words: string[];
}

const vocabulary = signal<(Term & { folded: string[] })[]>([]);
let loading: Promise<void> | undefined;

function load(): Promise<void> {
  loading ??= get<Term[]>("/api/terms")
    .then((terms) => void (vocabulary.value = terms.map((term) => ({ ...term, folded: [term.id, ...term.words].map(folded) }))))
    .catch(() => ((loading = undefined), say("The vocabulary can't be loaded. Terms can be typed all the same.")));
  return loading;
}

const folded = (text: string) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().trim();
const labelOf = (id: string) => vocabulary.value.find((term) => term.id === id)?.label ?? id;

function found(words: string, facet: string): Term[] {
  const wanted = folded(words);
  if (!wanted) return [];
  const rank = (word: string) => (word === wanted ? 0 : word.startsWith(wanted) ? 1 : word.includes(wanted) ? 2 : 9);
  return vocabulary.value
    .filter((term) => !facet || term.facet === facet)
    .map((term) => ({ at: Math.min(...term.folded.map(rank)), term }))
    .filter(({ at }) => at < 9)
    .sort((one, other) => one.at - other.at)
    .slice(0, 12)
    .map(({ term }) => term);
}

interface Props {
  id: string;
  name: string;
  facet: string;
  chosen: string[];
  disabled: boolean;
  invalid: string | undefined;
  onChange: (chosen: string[]) => void;
}

export function Terms({ id, name, facet, chosen, disabled, invalid, onChange }: Props) {
  const typed = useSignal("");
  const at = useSignal(-1);
  const input = useRef<HTMLInputElement>(null);
  const list = useId();
  useEffect(() => void load(), []);
  const shown = found(typed.value, facet);
  const add = (word: string) => {
    typed.value = "";
    at.value = -1;
    if (word && !chosen.includes(word)) onChange([...chosen, word]);
  };
  const remove = (word: string) => (onChange(chosen.filter((one) => one !== word)), input.current?.focus());
  const press = (event: KeyboardEvent) => {
    const last = shown.length - 1;
    if (event.key === "ArrowDown" && last >= 0) at.value = at.value >= last ? 0 : at.value + 1;
    else if (event.key === "ArrowUp" && last >= 0) at.value = at.value <= 0 ? last : at.value - 1;
    else if (event.key === "Enter" && typed.value.trim()) add(shown[Math.max(0, at.value)]?.id ?? typed.value.trim());
    else if (event.key === "Escape" && shown.length) typed.value = "";
    else if (event.key === "Backspace" && !typed.value && chosen.length) return remove(chosen[chosen.length - 1]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="lookup">
      {chosen.length > 0 && (
        <span class="chips">
          {chosen.map((one) => (
            <button type="button" key={one} disabled={disabled} aria-label={`Remove ${labelOf(one)}`} onClick={() => remove(one)}>
              {labelOf(one)} ×
            </button>
          ))}
        </span>
      )}
      <input
        ref={input}
        id={id}
        name={name}
        disabled={disabled}
        role="combobox"
        aria-autocomplete="list"
        aria-expanded={shown.length > 0}
        aria-controls={list}
        aria-activedescendant={at.value >= 0 ? `${list}-${at.value}` : undefined}
        aria-invalid={invalid ? "true" : undefined}
        aria-describedby={invalid}
        autocomplete="off"
        placeholder="Look up a term"
        value={typed.value}
        onInput={(event) => ((typed.value = event.currentTarget.value), (at.value = -1))}
        onKeyDown={press}
        onBlur={() => typed.value.trim() && add(found(typed.value, facet)[0]?.id ?? typed.value.trim())}
      />
      <ul id={list} class="suggestions" role="listbox" aria-label="Terms" hidden={shown.length === 0}>
        {shown.map((term, index) => (
          <li
            key={term.id}
            id={`${list}-${index}`}
            role="option"
            aria-selected={index === at.value}
            onPointerDown={(event) => (event.preventDefault(), add(term.id))}
          >
            {term.label} <span class="soft">{term.facet}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
