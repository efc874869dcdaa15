"""Zip and tar, unpacked safely: nothing leaves its folder, nothing is a link, nothing swells without end."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import posixpath
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from dam.ingest.inspection import CantCheck, Unusable

#: Endings of what is unpacked. Other files that are zips inside (documents, models) stay whole.
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_BLOCK = 1 << 20
#: Names and attributes of one member of a tar may take so many bytes.
_HEADER = 1 << 20
#: The table of contents of a zip, which is read as a whole, may take so many bytes.
_DIRECTORY = 1 << 26
#: Below so many bytes nothing counts as a bomb, whatever its ratio.
_SMALL = 10_000_000
_DRIVE = re.compile(r"[A-Za-z]:/")
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """How far unpacking may go.

    :param files: most files. :param bytes: most bytes unpacked. :param ratio: most bytes unpacked for each packed
        one. :param depth: how many archives deep; 1 unpacks the archive and none inside it.
    """

    files: int
    bytes: int
    ratio: float
    depth: int


@dataclass(slots=True)
class Unpacked:
    """What came out: paths below the folder, and remarks about what was left out."""

    paths: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def kind(path: Path) -> str | None:
    """Return ``zip`` or ``tar`` for a file that is to be unpacked, by its content; None for any other."""
    with path.open("rb") as stream:
        head = stream.read(264 + 8)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None if _is_document(path) else "zip"
    opener = _opener(head)
    if opener is None:
        return "tar" if head[257:262] == b"ustar" else None
    try:
        with opener(path) as stream:
            return "tar" if stream.read(262)[257:262] == b"ustar" else None
    except (OSError, *_DAMAGED):
        return None


def unpack(path: Path, folder: Path, limits: Limits) -> Unpacked:
    """Unpack an archive into an empty folder, archives inside it as well, each into a folder of its name.

    :raises Unusable: it is damaged, too large, or made to harm. :raises CantCheck: it is locked, or packed in a way
        that is unknown here. Either way nothing of it may be used.
    """
    found = Unpacked()
    allowance = _Allowance(limits, path.stat().st_size)
    try:
        members = _zip(path, found) if kind(path) == "zip" else _tar(path, found, allowance)
        for name, stream in members:
            _write(folder, name, stream, allowance, found)
    except (OSError, *_DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's trouble, not the archive's
        raise Unusable("The archive is damaged: it can't be unpacked to its end.") from error
    except (NotImplementedError, RuntimeError) as error:
        raise CantCheck("The archive is locked by a password, or packed in a way that is unknown here.") from error
    return _inner(folder, found, allowance)


class _Allowance:
    """What may still be unpacked; shared with the archives inside an archive."""

    def __init__(self, limits: Limits, packed: int) -> None:
        self.limits, self.files = limits, limits.files
        self.bytes = min(limits.bytes, max(_SMALL, int(packed * limits.ratio)))

    def take(self, *, files: int = 0, length: int = 0) -> None:
        self.files -= files
        self.bytes -= length
        if self.files < 0:
            raise Unusable(f"The archive holds more than {self.limits.files} files.")
        if self.bytes < 0:
            raise Unusable("The archive swells beyond all measure when it is unpacked: a decompression bomb.")


def _is_document(path: Path) -> bool:
    """Return whether a zip is the inside of a document, a book or a programme."""
    try:
        with _opened(path) as opened:
            names = opened.namelist()
    except (Unusable, *_DAMAGED):
        return False
    return bool(names) and (names[0] == "mimetype" or bool({"[Content_Types].xml", "META-INF/MANIFEST.MF"} & {*names}))


def _opener(head: bytes) -> Any:
    """Return what opens a compressed stream with this beginning."""
    openers: tuple[tuple[bytes, Any], ...] = (
        (b"\x1f\x8b", gzip.open),
        (b"BZh", bz2.open),
        (b"\xfd7zXZ\x00", lzma.open),
    )
    return next((opener for signature, opener in openers if head.startswith(signature)), None)


def _opened(path: Path) -> zipfile.ZipFile:
    """Open a zip whose table of contents is of a sane size, going by its last record (APPNOTE.TXT, 4.3.16)."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 66_000))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at >= 0 and int.from_bytes(tail[at + 12 : at + 16], "little") > _DIRECTORY:
        raise Unusable("The archive's table of contents is larger than any real one: it is made to harm.")
    return zipfile.ZipFile(path)


def _zip(path: Path, found: Unpacked) -> Iterator[tuple[str, IO[bytes]]]:
    with _opened(path) as opened:
        for member in opened.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                found.notes.append(f"{member.filename} is a link or a device, and was left out.")
                continue
            with opened.open(member) as stream:
                yield _named(member), stream


def _named(member: zipfile.ZipInfo) -> str:
    """Return a member's name: many tools write UTF-8 without saying so, and some Windows' separators."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


class _Member(tarfile.TarInfo):
    """A member whose name and attributes are read only when they are of a sane size."""

    def _proc_pax(self, opened: Any) -> Any:
        return super()._proc_pax(self._sane(opened))  # type: ignore[misc]

    def _proc_gnulong(self, opened: Any) -> Any:
        return super()._proc_gnulong(self._sane(opened))  # type: ignore[misc]

    def _sane(self, opened: Any) -> Any:
        if self.size > _HEADER:
            raise Unusable("The archive has a member whose name alone takes megabytes: it is made to harm.")
        return opened


class _Counted:
    """A stream that counts what is read against the allowance, so that what is skipped counts as well."""

    def __init__(self, stream: IO[bytes], allowance: _Allowance) -> None:
        self.stream, self.allowance = stream, allowance

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        self.allowance.take(length=len(block))
        return block


def _tar(path: Path, found: Unpacked, allowance: _Allowance) -> Iterator[tuple[str, IO[bytes]]]:
    with path.open("rb") as stream:
        opener = _opener(stream.read(8)) or open
    # an allowance of its own for what is read: headers, and what is skipped
    reading = _Allowance(replace(allowance.limits, bytes=allowance.limits.bytes + _SMALL), path.stat().st_size)
    with opener(path, "rb") as packed:
        counted = cast(IO[bytes], _Counted(packed, reading))
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Member) as opened:
            for member in opened:
                if member.isdir():
                    continue
                stream = opened.extractfile(member) if member.isreg() else None
                if stream is None:
                    found.notes.append(f"{member.name} is a link or a device, and was left out.")
                    continue
                yield member.name, stream


def _write(folder: Path, name: str, stream: IO[bytes], allowance: _Allowance, found: Unpacked) -> None:
    """Write one member below the folder."""
    path = _inside(name)
    target = folder / path
    allowance.take(files=1)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while block := stream.read(_BLOCK):
                allowance.take(length=len(block))
                out.write(block)
    except (FileExistsError, NotADirectoryError):
        raise Unusable(f"The archive holds two files named {path}.") from None
    found.paths.append(path)


def _inside(name: str) -> str:
    """Return a member's name as a path below the folder."""
    path = posixpath.normpath(name.removeprefix("./"))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CantCheck("The archive has a name in it that is not written in UTF-8.") from None
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or path == "." or "\\" in path or "\x00" in path or _DRIVE.match(path):
        raise Unusable(f"The archive has a member named {name!r}, which would leave its folder: it is made to harm.")
    return path


def _inner(folder: Path, found: Unpacked, allowance: _Allowance) -> Unpacked:
    """Unpack the archives that came out, as deep as is allowed; one that can't be unpacked stays whole."""
    depth = allowance.limits.depth - 1
    for path in list(found.paths) if depth else []:
        inner = folder / path
        if not path.lower().endswith(ENDINGS) or kind(inner) is None:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            out = Path(scratch) / "out"
            out.mkdir()
            left = replace(allowance.limits, depth=depth, files=max(allowance.files, 1), bytes=max(allowance.bytes, 1))
            try:
                unpacked = unpack(inner, out, left)
            except (Unusable, CantCheck) as error:
                found.notes.append(f"{path} was left as it is. {error.what}")
                continue
            total = sum((out / name).stat().st_size for name in unpacked.paths)
            allowance.take(files=len(unpacked.paths), length=total)
            inner.unlink()
            out.rename(inner)
        found.paths.remove(path)
        found.paths += [f"{path}/{name}" for name in unpacked.paths]
        found.notes += [f"{path}: {note}" for note in unpacked.notes]
    return found
