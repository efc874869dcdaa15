// A model: its picture, on which notes are drawn; and on request the model itself, to be turned.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { media, root } from "../../shared/api";
import { controls, setFrame } from "../stage";
import { say } from "../state";
import type { Version } from "../types";
import { Picture } from "./picture";

const FORMATS = ["glb", "stl", "ply", "obj"] as const;
export type Format = (typeof FORMATS)[number];

/** Return the format of a model that can be turned here; undefined for what is no model, null for other models. */
export function modelFormat(one: Version): Format | null | undefined {
  const ending = one.filename.split(".").pop()?.toLowerCase();
  const known = FORMATS.find((format) => format === ending);
  return known ?? (one.media_type.startsWith("model/") ? null : undefined);
}

export function Model({ one }: { one: Version }) {
  const turning = useSignal(false);
  const format = modelFormat(one);
  return (
    <>
      {turning.value && format ? (
        <Turning one={one} format={format} failed={() => (turning.value = false)} />
      ) : (
        one.recipes.includes("preview") && <Picture url={media(one.version_id, "preview")} />
      )}
      {format && (
        <button type="button" class="button small turn" aria-pressed={turning.value} onClick={() => (turning.value = !turning.value)}>
          {turning.value ? "Back to the picture" : "Turn in 3D"}
        </button>
      )}
    </>
  );
}

function Turning({ one, format, failed }: { one: Version; format: Format; failed: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let close: (() => void) | undefined;
    let gone = false;
    setFrame({ x: 0, y: 0, width: 0, height: 0 }); // notes are on the picture
    const show = async () => {
      const [{ open }, reply] = await Promise.all([import("./scene"), fetch(`${root}/originals/${one.version_id}`)]);
      if (!reply.ok) throw new Error(reply.status === 403 ? "You may see the picture of this model only." : "The model can't be read.");
      const opened = await open(place.current!, await reply.arrayBuffer(), format);
      if (gone) return opened.close();
      controls.value = opened;
      close = opened.close;
    };
    show().catch((error: Error) => {
      if (gone) return;
      say(`${error.message} The picture is shown instead.`);
      failed();
    });
    return () => {
      gone = true;
      controls.value = null;
      close?.();
    };
  }, []);
  return <div class="picture" ref={place} />;
}
