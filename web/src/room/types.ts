// What the server tells, as plugins/dam_web/room.py and the annotation routes write it.

export type VerdictName = "approve" | "request_changes" | "reject";
export type Kind = "must_fix" | "suggestion" | "note";

export interface Version {
  version_id: string;
  asset_id: string;
  asset: string;
  kind: string;
  metadata: { title: string | null; alt_text: string | null };
  verdict: VerdictName | null;
  previous: string | null;
  number: number;
  filename: string;
  state: string;
  media_type: string;
  bytes: number;
  width: number | null;
  height: number | null;
  seconds: number | null;
  sha256: string;
  made_by: string;
  recipes: string[];
  deep_zoom: boolean;
  technical: { frame_rate?: string; timecode?: string; pages?: number; storyboard?: Storyboard };
}

export interface Storyboard {
  columns: number;
  rows: number;
  tile_width: number;
  tile_height: number;
  seconds: number[];
}

export interface Signature {
  decision_id: string;
  person: string;
  on_behalf_of: string | null;
  verdict: VerdictName;
  conditions: string;
  condition_met: { person: string; note: string; at: string } | null;
  comment: string;
  versions: Record<string, { verdict: VerdictName; comment: string }>;
  must_fixes: { annotation_id: string; body: string }[];
  at: string;
  via: string;
  manifest_sha256: string;
}

export interface Seat {
  seat_id: string;
  role: string;
  veto: boolean;
  status: "waiting" | "open" | "signed" | "expired" | "void" | "not_needed";
  stage: number;
  needed: number;
  eligible: string[];
  deputies: Record<string, string>;
  opens_at: string | null;
  due_at: string | null;
  reason: string | null;
  signatures: Signature[];
  verdict: VerdictName | null;
}

export interface Selector {
  type: string;
  conformsTo?: string;
  value: string;
  refinedBy?: Selector | null;
}

export interface Target {
  source: string;
  selector?: Selector | null;
}

export interface Annotation {
  annotation_id: string;
  version_id: string;
  author: string;
  author_name: string;
  role: string | null;
  guest: boolean;
  body: string;
  target: Target | null;
  kind: Kind;
  audience: string | null;
  reply_to: string | null;
  mentions: string[];
  status: "open" | "resolved";
  resolved_by: string | null;
  resolved_at: string | null;
  resolution: string | null;
  created_at: string;
  edited_at: string | null;
  origin: { annotation_id: string; package_id: string; version_id: string; number: number } | null;
  mine: boolean;
  may: ("edit" | "withdraw" | "reopen" | "resolve" | "reply")[];
}

export interface Person {
  username: string;
  name: string;
  roles: string[];
}

/** What differs from what was frozen, in sentences by part: bytes, metadata, tags, rights. */
export interface Change {
  version_id: string;
  asset: string;
  number: number;
  changes: Record<string, string[]>;
}

export type Purpose = "release" | "brief" | "metadata";

export interface Room {
  package_id: string;
  /** What the signatures are for. */
  purpose: Purpose;
  batch_id: string;
  /** The campaign, or where the files came from. */
  of: string;
  /** Where metadata is to be completed: what versions lack, and whether I may fill it in. */
  lacks?: Record<string, string[]>;
  may_fill?: boolean;
  campaign: string | null;
  /** The brief that is to be signed, where the package is for one. */
  brief: { brief_id: string; number: number; status: "draft" | "returned" | "signed"; drafted_by: string } | null;
  round: number;
  status: "in_review" | "approved" | "changes_requested" | "rejected" | "void" | "expired";
  manifest_sha256: string;
  void_reason: string | null;
  lapsed: boolean;
  frozen_at: string;
  next_package_id: string | null;
  previous_package_id: string | null;
  versions: Version[];
  /** Versions whose answers the approved rest waits for. */
  waits_for: string[];
  changes: Change[];
  changed_since: Change[];
  makers: string[];
  seats: Seat[];
  annotations: Annotation[];
  /** When this was read, as the stream of events counts it. */
  live: string;
  me: Person & { writes: boolean; reopens: boolean };
  people: Person[];
}

export interface Facts {
  metadata: Record<string, string | null>;
  colour_profile: string | null;
  tags: { label: string; confidence: number; sources: string[] }[];
}
