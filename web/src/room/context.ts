// What stands beside a proof: why it was asked for, whether it is complete, where it may go, what it resembles,
// where it comes from. Texts go in as text, never as HTML.
import { get, root } from "../shared/api";
import { plain } from "./words";

type Line = { label: string; text: string };
type Rule = { rule: string; severity: "must" | "should"; met: boolean | null; said: string };
type Contract = { complete: boolean | null; checked_at: string | null; edited_since: boolean; said: string; rules: Rule[] };
type Context = {
  brief: Line[];
  /** Nothing, as `rights` are null, where a brief is to be signed: it goes nowhere. */
  contract: { review?: Contract; activate?: Contract };
  rights: { channel: string; territories: string[]; allowed: boolean; said: string }[] | null;
  grants: string[];
  near: { version_id: string; asset_id: string; label: string; how: string; state: string }[];
  provenance: Line[];
};

/** Fetch what stands beside a version's proof and render it into an element. */
export async function loadContext(into: HTMLElement, packageId: string, versionId: string): Promise<void> {
  into.setAttribute("aria-busy", "true");
  into.dataset.version = versionId;
  const wanted = (): boolean => into.dataset.version === versionId; // nobody has turned to another proof meanwhile
  try {
    const told = await get<Context>(`/api/packages/${packageId}/versions/${versionId}/context`);
    if (wanted()) renderContext(into, told, versionId);
  } catch (error) {
    if (wanted()) into.replaceChildren(element("p", "notice", `What stands beside this proof could not be read. ${(error as Error).message}`));
  } finally {
    if (wanted()) into.removeAttribute("aria-busy");
  }
}

/** Render what stands beside a version's proof into an element. */
function renderContext(into: HTMLElement, told: Context, versionId: string): void {
  into.classList.add("context");
  into.replaceChildren(
    part("Brief", told.brief.length ? [list(told.brief)] : [element("p", "soft", "No brief asked for it.")], true),
    ...(told.rights ? [part("Rights", rights(told.rights, told.grants), true, told.rights.length ? told.rights.every((row) => row.allowed) : null)] : []),
    ...complete("Complete for review", told.contract.review),
    ...complete("Complete for publishing", told.contract.activate),
    ...(told.rights ? [part("Look-alikes", near(told, versionId), told.near.length > 0)] : []),
    part("Where it comes from", [list(told.provenance)], false),
  );
}

function complete(name: string, told: Contract | undefined): HTMLElement[] {
  return told ? [part(name, contract(told), false, told.complete)] : [];
}

function rights(planned: NonNullable<Context["rights"]>, grants: string[]): HTMLElement[] {
  const rows = planned.map((row) => {
    const item = element("li", row.allowed ? "yes" : "no");
    item.append(element("span", "hidden", row.allowed ? "Allowed: " : "Not allowed: "), row.said);
    return item;
  });
  const channels = element("ul", "rights");
  channels.append(...rows);
  return [
    rows.length ? channels : element("p", "soft", "It is planned for no channel."),
    ...grants.map((said) => element("p", "soft", said)),
  ];
}

function contract(told: Contract): HTMLElement[] {
  const rules = element("ul", "rights");
  for (const rule of told.rules) {
    const item = element("li", rule.met === null ? "open" : rule.met ? "yes" : rule.severity === "must" ? "no" : "open");
    const state = rule.met === null ? "Not checked: " : rule.met ? "Met: " : rule.severity === "must" ? "Broken: " : "Could be better: ";
    item.append(element("span", "hidden", state), rule.said || `${rule.rule}.`);
    rules.append(item);
  }
  return [element("p", "", told.said), rules];
}

function near(told: Context, versionId: string): HTMLElement[] {
  if (!told.near.length) return [element("p", "soft", "Nothing in the library looks or sounds like it.")];
  return told.near.map((row) => {
    const line = element("p", "");
    const asset = element("a", "", row.label) as HTMLAnchorElement;
    asset.href = `${root}/assets/${row.asset_id}`;
    const both = element("a", "", "compare") as HTMLAnchorElement;
    both.href = `${root}/compare?from=${row.version_id}&to=${versionId}`;
    line.append(asset, ` (${plain(row.state)}): ${row.how} · `, both);
    return line;
  });
}

function list(lines: Line[]): HTMLElement {
  const made = element("dl", "");
  for (const { label, text } of lines) {
    const row = element("div", "");
    row.append(element("dt", "", label), element("dd", "wrap", text));
    made.append(row);
  }
  return made;
}

function part(name: string, content: HTMLElement[], open: boolean, good: boolean | null = null): HTMLElement {
  const made = document.createElement("details");
  made.open = open || good === false;
  const summary = element("summary", "", name);
  if (good !== null) summary.append(" ", element("span", `badge ${good ? "state-approved" : "state-rejected"}`, good ? "yes" : "no"));
  made.append(summary, ...content);
  return made;
}

function element(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
