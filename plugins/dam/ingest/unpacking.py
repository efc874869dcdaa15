"""What unpacking may cost, judged in one way for archives, documents and models: files, bytes, and bytes a byte."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dam.ingest.inspection import Unusable

#: Highly packed is suspicious only beyond so many bytes: an empty picture packs well, too.
HARMLESS = 256 << 20
_REMEDY = "It may be made to harm; ask for another one."


class TooMuch(Unusable):
    """Not one bad file, but something made to fill disks or memory: nothing of it is taken."""


@dataclass(slots=True)
class Budget:
    """What unpacking may still cost, what is packed in it included.

    :param limits: ``max_unpacked_files`` and ``max_unpacked_ratio``. :param packed: its length in bytes.
    :param most: bytes that it may unpack to. :param what: the thing it is, with its article, for refusals.
    """

    limits: dict[str, Any]
    packed: int
    most: int
    what: str
    remedy: str = _REMEDY
    files: int = 0
    bytes: int = 0

    def one_more(self) -> None:
        """Count a file. :raises TooMuch: there are too many."""
        self.files += 1
        if self.files > self.limits["max_unpacked_files"]:
            raise self._refusal(f"holds more than {self.limits['max_unpacked_files']:,} files")

    def spend(self, count: int) -> None:
        """Count unpacked bytes. :raises TooMuch: there are too many, or too many for so small a file."""
        self.bytes += count
        if self.bytes > self.most:
            raise self._refusal(f"unpacks to more than {self.most / 1e9:g} GB")
        ratio = self.limits["max_unpacked_ratio"]
        if self.bytes > HARMLESS and self.bytes > ratio * self.packed:
            raise self._refusal(f"unpacks to more than {ratio:g} times its size: it is made to fill disks")

    def _refusal(self, told: str) -> TooMuch:
        return TooMuch(f"{self.what} {told}.", remedy=self.remedy)


def check_table(infos: Sequence[zipfile.ZipInfo], limits: dict[str, Any], *, packed: int, what: str) -> int:
    """Judge a ZIP that is a document or a model by its table of contents; return how many bytes it unpacks to.

    No reader gets more out of an entry than the table says, so the table is enough.

    :param limits: ``max_unpacked_files``, ``max_unpacked_bytes``, ``max_unpacked_ratio``.
    :param packed: its length in bytes. :param what: the thing it is, with its article.
    :raises TooMuch: its parts would take too much room.
    """
    check_overlap(infos, what=what)
    budget = Budget(limits, packed, int(limits["max_unpacked_bytes"]), what)
    for info in infos:
        budget.one_more()
        budget.spend(info.file_size)
    return budget.bytes


def check_overlap(infos: Sequence[zipfile.ZipInfo], *, what: str, remedy: str = _REMEDY) -> None:
    """Refuse entries that share their bytes, by which a small ZIP unpacks without end. :raises TooMuch: they do."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise TooMuch(f"{what} has entries that overlap: it is made to fill disks.", remedy=remedy)
        end = info.header_offset + 30 + info.compress_size
