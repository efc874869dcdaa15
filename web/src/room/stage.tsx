// The stage: what a version is looked at by, the tools over it, and how its frame tells the layer where it is.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import * as draw from "./draw";
import { Layer } from "./layer";
import { Film } from "./viewers/film";
import { Model, modelFormat } from "./viewers/model";
import { Picture } from "./viewers/picture";
import { Sound } from "./viewers/sound";
import { Transport } from "./transport";
import { media, root } from "./api";
import { mayWrite, page, room, version } from "./state";
import type { Version } from "./types";
import { size } from "./words";
import { clock } from "./timecode";

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What a viewer can be told. */
export interface Controls {
  zoom: (by: number) => void;
  fit: () => void;
  pan: (across: number, down: number) => void;
}

/** Where the proof is on the stage, in pixels. */
export const frame = signal<Rect>({ x: 0, y: 0, width: 0, height: 0 });
export const controls = signal<Controls | null>(null);

export function setFrame(next: Rect): void {
  const old = frame.peek();
  const moved = (["x", "y", "width", "height"] as const).some((side) => Math.abs(old[side] - next[side]) > 0.1);
  if (moved) frame.value = next;
}

export const pagesOf = (one: Version) => one.recipes.filter((recipe) => /^page-\d+$/.test(recipe)).length;

export function Stage() {
  const one = version.value;
  const stage = useRef<HTMLDivElement>(null);
  useEffect(() => () => setFrame({ x: 0, y: 0, width: 0, height: 0 }), [one?.version_id]);
  useEffect(fetchAhead, [one?.version_id]);
  if (!one) return <div class="stage empty">There is nothing in this package.</div>;
  return (
    <section class={isSound(one) ? "looking sounds" : "looking"} aria-label="Proof">
      <Toolbar />
      <div
        id="stage"
        class="stage"
        ref={stage}
        tabIndex={0}
        role="application"
        aria-roledescription="proof"
        aria-label={`Proof of ${one.asset} version ${one.number}. ${one.metadata.alt_text ?? ""} Press question mark for the keys.`}
      >
        <Viewer one={one} key={one.version_id} />
        <Layer />
      </div>
      {one.recipes.includes("proxy") && <Transport />}
      {pagesOf(one) > 1 && <Pages count={one.technical.pages ?? pagesOf(one)} shown={pagesOf(one)} />}
    </section>
  );
}

/** Fetch what comes next, so that it is there when somebody goes on. */
function fetchAhead(): () => void {
  const timer = setTimeout(() => {
    const { versions } = room.peek();
    const next = versions[versions.findIndex((one) => one === version.peek()) + 1];
    const recipe = next && ["poster", "preview"].find((name) => next.recipes.includes(name));
    if (next && recipe) new Image().src = media(next.version_id, recipe);
  }, 800);
  return () => clearTimeout(timer);
}

const isSound = (one: Version) => one.recipes.includes("proxy") && !one.recipes.includes("poster");

function Viewer({ one }: { one: Version }) {
  const has = (recipe: string) => one.recipes.includes(recipe);
  if (has("proxy") && has("poster")) return <Film one={one} />;
  if (isSound(one)) return <Sound one={one} />;
  if (modelFormat(one)) return <Model one={one} />;
  if (pagesOf(one) > 1) return <Picture url={media(one.version_id, `page-${page.value}`)} key={page.value} />;
  if (has("preview")) return <Picture url={media(one.version_id, "preview")} tiles={tilesOf(one)} />;
  return (
    <p class="nothing">
      No preview for {one.media_type}. <a href={`${root}/originals/${one.version_id}`}>Get the file</a>
    </p>
  );
}

/** A preview has so many pixels at most (`preview` in templates/recipes.yaml): a smaller picture is whole in it. */
const PREVIEW = 2052;

/** The address of a picture's tiles, where it is larger than its preview. */
function tilesOf(one: Version): string | undefined {
  const large = one.kind === "image" && Math.max(one.width ?? 0, one.height ?? 0) > PREVIEW;
  return large ? `${root}/tiles/${one.version_id}.dzi` : undefined;
}

function Toolbar() {
  const one = version.value!;
  return (
    <div class="toolbar" role="toolbar" aria-label="Tools">
      {mayWrite.value && !isSound(one) && (
        <div class="tools" role="group" aria-label="Draw">
          {draw.TOOLS.map(({ tool, key, label, how }) => (
            <button
              type="button"
              key={tool}
              aria-pressed={draw.tool.value === tool}
              aria-label={label}
              aria-keyshortcuts={key}
              title={`${label} (${key}). ${how}`}
              onClick={() => draw.take(tool)}
            >
              <Icon name={tool} />
            </button>
          ))}
        </div>
      )}
      <h2 class="title" title={one.filename}>
        {one.asset} <span class="soft">v{one.number}</span>
      </h2>
      <span class="soft extent">{extent(one)}</span>
      {one.previous && (
        <a class="button small" href={`${root}/compare?from=${one.previous}&to=${one.version_id}`}>
          Compare<span class="wide-only"> with v{one.number - 1}</span>
        </a>
      )}
      {controls.value && (
        <div class="tools" role="group" aria-label="Zoom">
          <button type="button" aria-label="Zoom out" title="Zoom out (−)" onClick={() => controls.value?.zoom(1 / 1.5)}>−</button>
          <button type="button" class="fit" title="Fit (0)" onClick={() => controls.value?.fit()}>Fit</button>
          <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick={() => controls.value?.zoom(1.5)}>+</button>
        </div>
      )}
    </div>
  );
}

function extent(one: Version): string {
  const parts = [one.width && `${one.width} × ${one.height}`, one.seconds && clock(one.seconds), size(one.bytes)];
  return parts.filter(Boolean).join(" · ");
}

function Pages({ count, shown }: { count: number; shown: number }) {
  const go = (to: number) => (page.value = Math.min(shown, Math.max(1, to)));
  return (
    <nav class="pages" aria-label="Pages">
      <button type="button" class="button small" disabled={page.value <= 1} onClick={() => go(page.value - 1)} aria-label="Page before">
        ‹
      </button>
      <label>
        Page{" "}
        <input type="number" min={1} max={shown} value={page.value} onChange={(event) => go(Number(event.currentTarget.value) || 1)} />{" "}
        of {count}
      </label>
      <button type="button" class="button small" disabled={page.value >= shown} onClick={() => go(page.value + 1)} aria-label="Page after">
        ›
      </button>
      {shown < count && <span class="soft">Pictures were made of the first {shown} pages.</span>}
    </nav>
  );
}

const PATHS: Record<draw.Tool, string> = {
  move: "M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  pin: "M12 21s-6-6.5-6-11a6 6 0 0 1 12 0c0 4.500-6 11-6 11zM12 12.200a2.200 2.200 0 1 0 0-4.400 2.200 2.200 0 0 0 0 4.400z",
  box: "M4 6h16v12H4z",
  arrow: "M5 19 19 5M19 5h-8M19 5v8",
  polygon: "M12 3l9 7-4 10H7L3 10z",
  freehand: "M3 16c3-9 6-9 7-4s3 5 5 0 3-5 6-3",
};

function Icon({ name }: { name: draw.Tool }) {
  return (
    <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
      <path d={PATHS[name]} fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}
