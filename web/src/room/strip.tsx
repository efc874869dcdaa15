// The filmstrip: every version of the package, its open notes and its verdict. What is out of sight costs nothing.
import { memo } from "preact/compat";
import { useEffect, useRef } from "preact/hooks";
import { media } from "../shared/api";
import { became, fills, lacks } from "./purpose";
import { chosen, choose, mark, marks, mySeat, room, show, shownId, threads } from "./state";
import type { Version } from "./types";
import { count, VERDICTS } from "./words";

export function Strip() {
  const { versions } = room.value;
  const bulk = mySeat.value !== undefined && versions.length > 1 && !fills.value;
  const all = chosen.value.size === versions.length;
  return (
    <nav class="strip" aria-label="Versions">
      {bulk && (
        <label class="check all">
          <input type="checkbox" checked={all} onChange={() => (chosen.value = new Set(all ? [] : versions.map((one) => one.version_id)))} />{" "}
          {chosen.value.size ? `${chosen.value.size} selected` : "Select all"}
        </label>
      )}
      <ol>
        {versions.map((one) => (
          <Frame
            key={one.version_id}
            one={one}
            shown={one.version_id === shownId.value}
            selected={bulk ? chosen.value.has(one.version_id) : undefined}
            verdict={marks.value[one.version_id]?.verdict ?? null}
            missing={fills.value && !one.verdict ? lacks(one.version_id).length : null}
            open={(threads.value.get(one.version_id) ?? []).filter(({ note }) => note.status === "open").length}
            mustFix={(threads.value.get(one.version_id) ?? []).some(({ note }) => note.kind === "must_fix" && note.status === "open")}
          />
        ))}
      </ol>
    </nav>
  );
}

interface FrameProps {
  one: Version;
  shown: boolean;
  selected: boolean | undefined;
  verdict: keyof typeof VERDICTS | null;
  /** How much it lacks; null where that is no matter of this package. */
  missing: number | null;
  open: number;
  mustFix: boolean;
}

const Frame = memo(function Frame({ one, shown, selected, verdict, missing, open, mustFix }: FrameProps) {
  const item = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (shown) item.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [shown]);
  const given = verdict ? VERDICTS[verdict] : one.verdict ? became(one.verdict) : "";
  return (
    <li ref={item} class={shown ? "frame shown" : "frame"}>
      <button type="button" aria-current={shown ? "true" : undefined} onClick={() => show(one.version_id)}>
        {one.recipes.includes("thumbnail") ? (
          <img src={media(one.version_id, "thumbnail")} alt="" loading="lazy" decoding="async" fetchpriority="low" width={160} height={110} />
        ) : (
          <span class="noimage">{one.media_type}</span>
        )}
        <span class="name">
          {one.asset} <span class="soft">v{one.number}</span>
        </span>
        {given && <span class={`given ${verdict ?? one.verdict}`}>{given}</span>}
        {missing !== null && <span class={missing ? "lacks" : "lacks none"}>{missing ? `${missing} missing` : "Complete"}</span>}
        {open > 0 && (
          <span class={mustFix ? "open must_fix" : "open"} title={count(open, "open note")}>
            {open}
            <span class="hidden">{mustFix ? " open notes, some must be fixed" : " open notes"}</span>
          </span>
        )}
      </button>
      {selected !== undefined && (
        <input type="checkbox" checked={selected} aria-label={`Select ${one.asset} version ${one.number}`} onChange={() => choose(one.version_id)} />
      )}
    </li>
  );
});

/** The versions that a verdict on single versions is about: the selected ones, or the one that is shown. */
export const meant = () => (chosen.peek().size ? [...chosen.peek()] : [shownId.peek()]);

/** Mark what is meant. */
export function judge(verdict: keyof typeof VERDICTS): void {
  mark(meant(), verdict);
}
