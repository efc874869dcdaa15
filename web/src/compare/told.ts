// What the server tells of both versions.
export type Side = {
  version_id: string;
  label: string;
  kind: string;
  width: number | null;
  height: number | null;
  frame_rate: string | null;
  alt_text: string;
  recipes: string[];
  deep_zoom: boolean;
};
export type Told = { from: Side; to: Side };
export type Box = [number, number, number, number];
export type Pixels = {
  compared: boolean;
  said: string[];
  share?: number | null;
  boxes?: Box[];
  common?: { from: Box; to: Box } | null;
};
