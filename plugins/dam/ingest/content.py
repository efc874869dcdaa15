"""A file's bytes, read where they are asked for: whatever a file claims of itself, memory stays small."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from types import TracebackType

#: Bytes of the start that are read at once, which tell most formats.
HEAD = 4096
#: Bytes searched at a time, and how many of them again with the next, so that no match falls between two.
WINDOW, OVERLAP = 4 << 20, 4096


class Content:
    """A file opened for random access; use it as a context manager.

    :param path: may be a nameless file (``/proc/…/fd/…``).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._number).st_size

    def __enter__(self) -> Content:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        os.close(self._number)

    @cached_property
    def head(self) -> bytes:
        """The first :data:`HEAD` bytes, or all there are."""
        return self.read(0, HEAD)

    def read(self, at: int, length: int) -> bytes:
        """Return ``length`` bytes from ``at``; fewer at the end, none beyond it."""
        if at < 0 or at >= self.size or length <= 0:
            return b""
        return os.pread(self._number, min(length, self.size - at), at)

    def number(self, at: int, length: int, *, little: bool = False) -> int:
        """Return an unsigned number of ``length`` bytes; what is beyond the end counts as nothing."""
        return int.from_bytes(self.read(at, length), "little" if little else "big")

    def search(self, pattern: re.Pattern[bytes], start: int = 0, stop: int | None = None) -> tuple[int, bytes] | None:
        """Return place and bytes of a pattern's first match; matches are at most :data:`OVERLAP` long."""
        end = self.size if stop is None else min(stop, self.size)
        at, length = start, 1 << 16  # what is looked for is often near
        while at < end:
            window = self.read(at, min(length, end - at))
            if match := pattern.search(window):
                return at + match.start(), match[0]
            if at + len(window) >= end or not window:
                return None
            at, length = at + len(window) - OVERLAP, min(2 * length, WINDOW)
        return None

    def last(self, needle: bytes, reach: int = 1 << 20) -> int:
        """Return where ``needle`` is last, in the last ``reach`` bytes; -1 if it is not there."""
        start = max(0, self.size - reach)
        found = self.read(start, reach).rfind(needle)
        return start + found if found >= 0 else -1
