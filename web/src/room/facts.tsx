// What is known of the version that is shown: rights in plain words, metadata, look-alikes; read when it is asked for.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { get, root } from "./api";
import { room, version } from "./state";
import type { Facts } from "./types";
import { capital, plain, short, when } from "./words";

const FIELDS: [string, string][] = [
  ["description", "Description"], ["alt_text", "Alt text"], ["creator", "Creator"], ["credit_line", "Credit"], ["copyright_notice", "Copyright"],
];
const known = new Map<string, Facts>();

export function Details() {
  const one = version.value!;
  const facts = useSignal<Facts | null>(known.get(one.version_id) ?? null);
  const problem = useSignal("");
  useEffect(() => {
    facts.value = known.get(one.version_id) ?? null;
    problem.value = "";
    get<Facts>(`/api/packages/${room.peek().package_id}/versions/${one.version_id}`)
      .then((told) => {
        known.set(one.version_id, told);
        if (version.peek()?.version_id === one.version_id) facts.value = told;
      })
      .catch((error: Error) => (problem.value = error.message));
  }, [one.version_id]);
  return (
    <div class="details">
      <h3>{one.metadata.title ?? one.asset}</h3>
      <p class="soft">
        <a href={`${root}/assets/${one.asset_id}`}>{one.asset}</a> v{one.number} · by {one.made_by} · <code title={one.sha256}>{short(one.sha256)}…</code>
      </p>
      <Context version_id={one.version_id} />
      {problem.value && <p class="wrong">{problem.value}</p>}
      {facts.value ? <Known facts={facts.value} /> : !problem.value && <p class="soft">Reading …</p>}
    </div>
  );
}

function Known({ facts }: { facts: Facts }) {
  return (
    <>
      <h3>Rights</h3>
      {facts.rights_answers.length === 0 && <p class="soft">No channel is planned for it.</p>}
      <ul class="rights">
        {facts.rights_answers.map((answer) => (
          <li key={answer.channel} class={answer.allowed ? "yes" : "no"}>
            <strong>{answer.channel}</strong> {answer.explanation}
          </li>
        ))}
      </ul>
      {facts.grants.length === 0 && <p class="notice">No licence is recorded.</p>}
      {facts.grants.map((grant) => (
        <p class="soft" key={grant.licence}>
          {grant.licence}, {grant.holder}: {every(grant.channels, "all channels")}, {every(grant.territories, "everywhere")},{" "}
          {grant.ends_on ? `until ${when(grant.ends_on)}` : "without end"}; model release {plain(grant.model_release)}, property release{" "}
          {plain(grant.property_release)}.
        </p>
      ))}
      <h3>Metadata</h3>
      {facts.lacks.length > 0 && <p class="notice">Its last check before publishing did not let it out. {facts.lacks.join(" ")}</p>}
      <dl>
        {FIELDS.map(([name, label]) => facts.metadata[name] && <Row key={name} label={label} value={facts.metadata[name]} />)}
        {facts.colour_profile && <Row label="Colour profile" value={facts.colour_profile} />}
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
      {facts.near.map((near) => (
        <p class="notice" key={near.version_id}>
          {near.by_sound ? "Sounds" : "Looks"} like <a href={`${root}/assets/${near.asset_id}`}>{near.asset}</a> ({near.how}).
        </p>
      ))}
    </>
  );
}

const every = (values: string[], all: string) => (values.includes("*") ? all : values.join(", "));

function Row({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt>{capital(label)}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** The brief, the contract and where it comes from, drawn by a part of its own where the site has it. */
function Context({ version_id }: { version_id: string }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const address = `${root}/static/app/context.js`;
    import(address)
      .then((part: { render: (into: HTMLElement, at: { package_id: string; version_id: string }) => unknown }) =>
        part.render(place.current!, { package_id: room.peek().package_id, version_id }),
      )
      .catch(() => undefined); // the site has none: the rest stands by itself
  }, [version_id]);
  return <div class="context" ref={place} />;
}
