// A film: its proxy, in a frame that the layer of notes fits exactly.
import { useEffect, useRef } from "preact/hooks";
import { media } from "../../shared/api";
import { take, toggle } from "../player";
import type { Version } from "../types";
import { useFitted } from "./fitted";

export function Film({ one }: { one: Version }) {
  const place = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const { x, y, width, height } = useFitted(place, one.width ?? 16, one.height ?? 9);
  useEffect(() => take(video.current!), []);
  return (
    <div class="film" ref={place}>
      <video
        ref={video}
        src={media(one.version_id, "proxy")}
        poster={media(one.version_id, "poster")}
        preload="auto"
        playsInline
        tabIndex={-1}
        aria-label={one.metadata.alt_text ?? one.metadata.title ?? one.filename}
        style={{ left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` }}
        onClick={toggle}
      />
    </div>
  );
}
