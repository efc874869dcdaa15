"""One frame of a film, as a picture."""

from __future__ import annotations

import io
from pathlib import Path

import av

from dam.errors import NotFound

QUALITY = 88


def still(path: Path, seconds: float) -> bytes:
    """Return the frame that is on at a moment of a film, as JPEG; of a moment past its end, the last one.

    :param path: a file that can be sought, as proxies are: from a key frame at most two seconds before.
    :raises NotFound: it has no picture.
    """
    with av.open(str(path)) as film:
        if not film.streams.video:
            raise NotFound("has no picture", where=path.name)
        stream = film.streams.video[0]
        stream.thread_type = "AUTO"
        for begin in (seconds, 0.0):  # a moment past the end: from its beginning, for there may be one key frame only
            if stream.time_base is not None:
                film.seek(int(begin / stream.time_base), stream=stream)
            shown = None
            for frame in film.decode(stream):
                if shown is not None and frame.time is not None and frame.time > seconds:
                    break
                shown = frame
            if shown is not None:
                out = io.BytesIO()
                shown.to_image().save(out, "JPEG", quality=QUALITY)  # type: ignore[no-untyped-call]
                return out.getvalue()
    raise NotFound("has no picture", where=path.name)
