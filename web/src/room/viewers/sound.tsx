// A sound: its cover, if it has one, and the waveform below to find one's way by.
import { useEffect, useRef } from "preact/hooks";
import { media } from "../../shared/api";
import { take } from "../player";
import type { Version } from "../types";
import { useFitted } from "./fitted";

export function Sound({ one }: { one: Version }) {
  const place = useRef<HTMLDivElement>(null);
  const audio = useRef<HTMLAudioElement>(null);
  const { x, y, width, height } = useFitted(place, 16, 9);
  useEffect(() => take(audio.current!), []);
  return (
    <div class="film" ref={place}>
      {one.recipes.includes("preview") && (
        <img src={media(one.version_id, "preview")} alt="" style={{ left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` }} />
      )}
      <audio ref={audio} src={media(one.version_id, "proxy")} preload="auto" />
    </div>
  );
}
