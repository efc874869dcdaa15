"""Checksums that senders promise: ``SHA256SUMS`` and its kin, ``photo.jpg.md5``, BagIt manifests."""

from __future__ import annotations

import codecs
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Hexadecimal digits → algorithm, as :mod:`hashlib` names it.
LENGTHS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
#: A longer list of checksums is not read.
LONGEST = 64_000_000
#: ``hash  name`` or ``hash *name`` to the letter, or else with whatever space between them.
_GNU = re.compile(r"^(?P<escaped>\\?)(?P<hex>[0-9a-fA-F]{32,128})(?: [ *](?=[^ \t])|[ \t]+\*?)(?P<name>.+)$")
_BSD = re.compile(r"^[A-Za-z0-9-]+ ?\((?P<name>.+)\) ?= ?(?P<hex>[0-9a-fA-F]{32,128})\s*$")
_BARE = re.compile(r"^(?P<hex>[0-9a-fA-F]{32,128})$")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(slots=True)
class Sums:
    """What lists of checksums say.

    :param promised: path → algorithm → hex. :param faults: sentences about lines that can't be used.
    """

    promised: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, path: str, digest: str) -> None:
        """Note a checksum; two that contradict each other are both told, and the first one counts."""
        algorithm, digest = LENGTHS[len(digest)], digest.lower()
        known = self.promised.setdefault(path, {}).setdefault(algorithm, digest)
        if known != digest:
            self.faults.append(f"Two {algorithm} checksums are promised for {path}; the first one counts.")

    def meet(self, paths: Iterable[str]) -> None:
        """Let names mean files that are there when they differ only in how accents are written (a Mac takes them
        apart)."""
        there = {unicodedata.normalize("NFC", path): path for path in paths}
        known = set(there.values())
        self.promised = {
            path if path in known else there.get(unicodedata.normalize("NFC", path), path): digests
            for path, digests in self.promised.items()
        }

    def include(self, other: Sums) -> None:
        """Add what another list says."""
        for path, digests in other.promised.items():
            for digest in digests.values():
                self.add(path, digest)
        self.faults += other.faults


def decode(data: bytes) -> str:
    """Return a text file's content: UTF-8 unless its first bytes say UTF-16, as Windows tools write."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def read(path: str, text: str) -> Sums:
    """Return what a list of checksums says; its names are relative to its folder.

    Understood are lines as ``sha256sum`` and ``md5sum`` print them (GNU, with their escapes), as BSD's ``md5``
    does, and a checksum alone in a file that is named after another one. ``#`` and ``;`` begin comments.

    :param path: of the list. :param text: its content.
    """
    found = Sums()
    folder = posixpath.dirname(path)
    odd = 0
    for line in text.replace("\r\n", "\n").split("\n"):  # names may hold what splitlines() takes for a line's end
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        named = _line(line, path)
        at = _inside(folder, named[0]) if named else None
        if named and at and len(named[1]) in LENGTHS:
            found.add(at, named[1])
        else:
            odd += 1
    if odd:
        found.faults.append(f"{odd} line{'s' if odd > 1 else ''} of {path} can't be read as checksum and name.")
    return found


def _line(line: str, path: str) -> tuple[str, str] | None:
    """Return the name and the checksum that a line gives."""
    if match := _GNU.match(line):
        name = match["name"]
        return (_unescaped(name) if match["escaped"] else name), match["hex"]
    if match := _BSD.match(line):
        return match["name"], match["hex"]
    if match := _BARE.match(line.strip()):
        return posixpath.basename(path).rpartition(".")[0], match["hex"]
    return None


def _unescaped(name: str) -> str:
    known = {"n": "\n", "r": "\r", "\\": "\\"}
    return re.sub(r"\\(.)", lambda match: known.get(match[1], match[0]), name)


def _inside(folder: str, name: str) -> str | None:
    """Return a name as a path of the batch; None when it would leave it. Windows' separators are understood."""
    if "/" not in name and "\\" in name:
        name = name.replace("\\", "/")
    path = posixpath.normpath(posixpath.join(folder, name))
    return None if path.startswith(("/", "../")) or path in (".", "..") else path
