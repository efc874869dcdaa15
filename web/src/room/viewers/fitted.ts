// Where something of a size is, fitted into the stage; followed when the stage changes its own.
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";
import { setFrame, type Rect } from "../stage";

export function useFitted(place: RefObject<HTMLElement | null>, width: number, height: number): Rect {
  const [rect, setRect] = useState<Rect>({ x: 0, y: 0, width: 0, height: 0 });
  useEffect(() => {
    const element = place.current!;
    const fit = () => {
      const scale = Math.min(element.clientWidth / width, element.clientHeight / height);
      const [w, h] = [width * scale, height * scale];
      const next = { x: (element.clientWidth - w) / 2, y: (element.clientHeight - h) / 2, width: w, height: h };
      setRect(next);
      setFrame(next);
    };
    fit();
    const observer = new ResizeObserver(fit);
    observer.observe(element);
    return () => observer.disconnect();
  }, [width, height]);
  return rect;
}
