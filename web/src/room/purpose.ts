// What the package's signatures are for, and how verdicts are called then: filling in is done, or left out.
import { computed } from "@preact/signals";
import { room } from "./state";
import type { VerdictName } from "./types";
import { VERDICTS_GIVEN } from "./words";

export const fills = computed(() => room.value.purpose === "metadata");

const DONE_GIVEN: Partial<Record<VerdictName, string>> = { approve: "Done", reject: "The rest left out" };
const OF_VERSION: Partial<Record<VerdictName, string>> = { approve: "Complete", reject: "Left out" };

const STANDS: Record<string, string> = { in_review: "being completed", approved: "completed", rejected: "left out" };

/** How the package stands. */
export const stands = (status: string) => (fills.value && STANDS[status]) || status.replaceAll("_", " ");
/** What a signature said. */
export const given = (verdict: VerdictName) => (fills.value ? (DONE_GIVEN[verdict] ?? VERDICTS_GIVEN[verdict]) : VERDICTS_GIVEN[verdict]);
/** What became of a version. */
export const became = (verdict: VerdictName) => (fills.value ? (OF_VERSION[verdict] ?? VERDICTS_GIVEN[verdict]) : VERDICTS_GIVEN[verdict]);

/** What a version lacks, as sentences; nothing when it is complete. */
export const lacks = (version_id: string) => room.value.lacks?.[version_id] ?? [];
export const incomplete = computed(() => room.value.versions.filter((one) => lacks(one.version_id).length > 0));
