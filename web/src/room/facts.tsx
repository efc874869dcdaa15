// What is known of the version that is shown: what stands beside the proof, and its metadata; read when it is asked for.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get, root } from "../shared/api";
import { loadContext } from "./context";
import { room, version } from "./state";
import type { Facts } from "./types";
import { short } from "./words";

const FIELDS: [string, string][] = [
  ["description", "Description"], ["alt_text", "Alt text"], ["creator", "Creator"], ["credit_line", "Credit"], ["copyright_notice", "Copyright"],
];

export function Details() {
  const one = version.value!;
  const beside = useRef<HTMLDivElement>(null);
  const facts = useSignal<Facts | null>(null);
  const problem = useSignal("");
  useEffect(() => {
    const { package_id } = room.peek();
    facts.value = null;
    problem.value = "";
    beside.current!.replaceChildren();
    void loadContext(beside.current!, package_id, one.version_id);
    get<Facts>(`/api/packages/${package_id}/versions/${one.version_id}`)
      .then((told) => version.peek()?.version_id === one.version_id && (facts.value = told))
      .catch((error: Error) => (problem.value = error.message));
  }, [one.version_id]);
  return (
    <div class="details">
      <h3>{one.metadata.title ?? one.asset}</h3>
      <p class="soft">
        <a href={`${root}/assets/${one.asset_id}`}>{one.asset}</a> v{one.number} · by {one.made_by} · <code title={one.sha256}>{short(one.sha256)}…</code>
      </p>
      <div ref={beside} />
      {problem.value && <p class="wrong">{problem.value}</p>}
      {facts.value && <Metadata facts={facts.value} />}
    </div>
  );
}

function Metadata({ facts }: { facts: Facts }) {
  const rows = [...FIELDS.map(([name, label]) => [label, facts.metadata[name]]), ["Colour profile", facts.colour_profile]];
  return (
    <>
      <h3>Metadata</h3>
      <dl>
        {rows.map(
          ([label, value]) =>
            value && (
              <div key={label}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </div>
            ),
        )}
      </dl>
      {facts.tags.length > 0 && (
        <ul class="tags" aria-label="Tags">
          {facts.tags.map((tag) => (
            <li key={tag.label} title={`${tag.sources.join(", ")}, ${Math.round(tag.confidence * 100)} %`}>
              {tag.label}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
