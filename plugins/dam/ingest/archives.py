"""Archives: what is in them, and unpacking that writes nowhere else and never without end.

ZIP, tar (plain, or packed by gzip, bzip2 or xz) and single packed files. Sizes are counted as they are
unpacked; what an archive says of itself is believed only where it is against it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from dam.errors import BadInput
from dam.ingest import formats
from dam.ingest.damage import AGAIN
from dam.ingest.formats import Format, known
from dam.ingest.inspection import CantCheck, Unusable
from dam.ingest.unpacking import HARMLESS, Budget, TooMuch, check_overlap

REMEDY = "Ask for the files themselves, or for a plain ZIP of them."
_BLOCK = 1 << 20
#: What macOS and Windows leave in archives.
_JUNK_FOLDERS, _JUNK = {"__MACOSX"}, {".DS_Store", "Thumbs.db", "desktop.ini"}

Kind = Literal["file", "folder", "link", "device"]
_UNPACKERS: dict[Format, Callable[..., Any]] = {
    known.TAR_GZ: gzip.GzipFile,
    known.GZIP: gzip.GzipFile,
    known.TAR_BZ2: bz2.BZ2File,
    known.BZIP2: bz2.BZ2File,
    known.TAR_XZ: lzma.LZMAFile,
    known.XZ: lzma.LZMAFile,
}
_TARS = (known.TAR, known.TAR_GZ, known.TAR_BZ2, known.TAR_XZ)
_SINGLE = (known.GZIP, known.BZIP2, known.XZ)
_STARTS = (b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf", b"Rar!")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in an archive.

    :param name: its path, made safe: relative, with ``/``. :param bytes: as the archive says.
    """

    name: str
    bytes: int
    kind: Kind


@dataclass(slots=True)
class _Budget(Budget):
    """What unpacking may still cost, archives in archives included. :param notes: for the batch's receipt."""

    notes: list[str] = field(default_factory=list)


def _budget(path: Path, limits: dict[str, Any]) -> _Budget:
    return _Budget(limits, path.stat().st_size, int(limits["archive_max_bytes"]), "The archive", REMEDY)


def _refuse(what: str) -> None:
    raise Unusable(f"The archive {what}.", remedy=REMEDY)


def _too_much(what: str) -> None:
    raise TooMuch(f"The archive {what}.", remedy=REMEDY)


@contextmanager
def _plainly() -> Iterator[None]:
    """Tell what goes wrong inside the libraries as a sentence about the archive."""
    try:
        yield
    except NotImplementedError as error:
        raise CantCheck("The archive is packed in a way that nothing here unpacks.", remedy=REMEDY) from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise Unusable(f"The archive is damaged or cut off ({error}).", remedy=AGAIN) from error
    except (ValueError, LookupError, AttributeError, OverflowError, RuntimeError) as error:
        raise Unusable("The archive is damaged: it contradicts itself.", remedy=AGAIN) from error
    except OSError as error:
        if error.errno is not None:  # the disk's, not the archive's
            raise
        raise Unusable(f"The archive is damaged ({error}).", remedy=AGAIN) from error


# ------------------------------------------------------------------------------------------------- public


def entries(path: Path) -> list[Entry]:
    """Return what is in an archive, in its order, by its table of contents.

    :raises Unusable: it is damaged, locked, or would write outside its folder.
    :raises CantCheck: nothing here opens this kind of archive.
    """
    with _plainly():
        return [entry for entry, _opened in _open(path, formats.identify(path), path.name)]


def check(path: Path, limits: dict[str, Any], name: str = "") -> list[str]:
    """Unpack an archive to nowhere, and archives in it as well.

    :param limits: ``archive_max_bytes``, ``archive_max_depth``, ``max_unpacked_files``, ``max_unpacked_ratio``.
    :param name: as it was sent.
    :returns: notes, e.g. what would be left out.
    :raises Unusable: it is a bomb, damaged, locked, or would write outside its folder.
    :raises CantCheck: nothing here opens this kind of archive.
    """
    budget = _budget(path, limits)
    _walk(path, name or path.name, budget, 1, None)
    return [f"{budget.files:,} files, {budget.bytes / 1e6:,.1f} MB unpacked.", *budget.notes]


def unpack(path: Path, folder: Path, limits: dict[str, Any], name: str = "") -> list[Path]:
    """Unpack an archive into a folder, and archives in it into folders named like them.

    All or nothing: the folder is there when everything is in it. One that is there already is taken for
    done, so unpacking again, after it was killed or not, ends the same.

    :param folder: is made; its parent exists. :param limits: see :func:`check`. :param name: as it was sent.
    An archive in it that can't be opened stays as it is, for its turn at the gate.

    :returns: the files, sorted.
    :raises Unusable: see :func:`check`; nothing is left behind.
    """
    if not folder.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name[:60]}-", dir=folder.parent))
        try:
            fresh.chmod(0o755)
            _walk(path, name or path.name, _budget(path, limits), 1, fresh)
            try:
                fresh.rename(folder)
            except OSError:
                if not folder.is_dir():  # another worker was faster
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return sorted(file for file in folder.rglob("*") if file.is_file())


# --------------------------------------------------------------------------------------------------- walk


def _walk(path: Path, name: str, budget: _Budget, depth: int, folder: Path | None) -> None:
    """Unpack into a folder, or nowhere when there is none."""
    if depth > budget.limits["archive_max_depth"]:
        _too_much(f"holds archives in archives, {depth} deep")
    with _plainly():
        seen: set[str] = set()
        most = budget.most + HARMLESS
        for entry, opened in _open(path, formats.identify(path), name, most):
            if entry.kind == "folder":
                budget.one_more()
                continue
            if entry.kind != "file":
                _refuse(f"holds a {entry.kind}, which can point anywhere: “{entry.name}”")
            if entry.name in seen:
                _refuse(f"holds two files of the same name: “{entry.name}”")
            seen.add(entry.name)
            budget.one_more()
            if _is_junk(entry.name):
                continue
            with opened() as stream:
                _take(stream, entry, budget, depth, folder)


def _is_junk(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[0] in _JUNK_FOLDERS or path.name in _JUNK or path.name.startswith("._")


def _take(stream: IO[bytes], entry: Entry, budget: _Budget, depth: int, folder: Path | None) -> None:
    """Unpack one file; an archive goes on into a folder of its name."""
    start = stream.read(_BLOCK)
    inner = start.startswith(_STARTS) or start[257:262] == b"ustar"
    with ExitStack() as stack:
        if folder is not None:
            target = _target(folder, entry.name)
        elif inner:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dam-archive-"))) / "inner"
        else:
            target = None
        _copy(start, stream, target, budget)
        if target is None or not inner or formats.identify(target, entry.name).kind != "archive":
            return
        if formats.identify(target) not in (known.ZIP, *_TARS, *_SINGLE):
            return  # kept as it is: nothing here opens it
        try:
            _unpack_inner(target, entry.name, budget, depth + 1, folder is not None)
        except TooMuch:
            raise
        except BadInput as error:  # one bad file among others, whose turn at the gate comes
            budget.notes.append(f"“{entry.name}” was not unpacked: {error.what}")


def _unpack_inner(path: Path, name: str, budget: _Budget, depth: int, keep: bool) -> None:
    """Unpack an archive to where it lies, or nowhere; when that can't be done it lies there as before."""
    if not keep:
        _walk(path, name, budget, depth, None)
        return
    packed = path.with_name(f".{path.name[:200]}.packed")
    path.rename(packed)
    try:
        path.mkdir()
        _walk(packed, name, budget, depth, path)
    except BadInput:
        shutil.rmtree(path)
        packed.rename(path)
        raise
    packed.unlink()


def _target(folder: Path, name: str) -> Path:
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        _refuse(f"holds a file and a folder of the same name: “{name}”")
    if target.exists():
        _refuse(f"holds a file and a folder of the same name: “{name}”")
    return target


def _copy(start: bytes, stream: IO[bytes], target: Path | None, budget: _Budget) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    number = os.open(target, flags, 0o644) if target else os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(number, "wb") as out:
        block = start
        while block:
            budget.spend(len(block))
            out.write(block)
            block = stream.read(_BLOCK)


# ------------------------------------------------------------------------------------------------- readers

_Opener = Callable[[], IO[bytes]]
_Opened = Iterator[tuple[Entry, _Opener]]
#: A tar without a limit of its own is read so far.
_ENDLESS = 1 << 42


def _open(path: Path, found: Format, name: str, most: int = _ENDLESS) -> _Opened:
    """Yield entries and how each is opened; one is read before the next is asked for."""
    if found in _TARS:
        return _tar(path, found, most)
    if found in _SINGLE:
        return _one(path, found, name)
    if found.kind == "archive" and found is not known.ZIP:
        raise CantCheck(
            f"There is nothing here that opens such archives ({found.media_type}), so it was kept as it is.",
            remedy=REMEDY,
        )
    return _zip(path)


def _zip(path: Path) -> _Opened:
    with zipfile.ZipFile(path) as opened:
        infos = opened.infolist()
        check_overlap(infos, what="The archive", remedy=REMEDY)
        for info in infos:
            if info.flag_bits & 1:
                _refuse("is locked with a password")
            mode = info.external_attr >> 16
            kind: Kind = "folder" if info.is_dir() else "file"
            if stat.S_ISLNK(mode):
                kind = "link"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "device"
            yield Entry(_safe(_zip_name(info)), info.file_size, kind), cast("_Opener", partial(opened.open, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a name in its true letters: macOS writes UTF-8 without saying so."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return info.filename


class _Counted(io.RawIOBase):
    """What a tar is read from: never more than so much, and whether it came to its end is known."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._left = stream, most
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if 0 <= size < _BLOCK else _BLOCK)
        self._left -= len(data)
        if self._left < 0:
            _too_much("unpacks without end")
        self.last = (self.last + data)[-512:] if data else self.last
        return data


class _Member(tarfile.TarInfo):
    """A member whose name and attributes are read, into memory, only when they are of a sane size."""

    def _proc_pax(self, opened: Any) -> Any:
        return super()._proc_pax(self._sane(opened))  # type: ignore[misc]

    def _proc_gnulong(self, opened: Any) -> Any:
        return super()._proc_gnulong(self._sane(opened))  # type: ignore[misc]

    def _sane(self, opened: Any) -> Any:
        if self.size > _BLOCK:
            _too_much("has a member whose name alone takes megabytes: it is made to harm")
        return opened


_TAR_KINDS: tuple[tuple[Callable[[tarfile.TarInfo], bool], Kind], ...] = (
    (tarfile.TarInfo.isdir, "folder"),
    (tarfile.TarInfo.issym, "link"),
    (tarfile.TarInfo.islnk, "link"),
    (tarfile.TarInfo.isfile, "file"),
)


def _tar(path: Path, found: Format, most: int) -> _Opened:
    with ExitStack() as stack:
        raw: IO[bytes] = stack.enter_context(path.open("rb"))
        if found in _UNPACKERS:
            raw = stack.enter_context(_unpacked(raw, found))
        counted = _Counted(raw, most)
        opened = stack.enter_context(tarfile.open(fileobj=cast("IO[bytes]", counted), mode="r|", tarinfo=_Member))
        for info in opened:
            kind: Kind = next((kind for is_one, kind in _TAR_KINDS if is_one(info)), "device")
            yield Entry(_safe(info.name), info.size, kind), cast("_Opener", partial(opened.extractfile, info))
        while counted.read():
            pass
        if any(counted.last):  # tarfile takes a header that is cut off for the end
            raise tarfile.ReadError("its end is missing")


def _unpacked(raw: IO[bytes], found: Format) -> IO[bytes]:
    return cast(
        "IO[bytes]", _UNPACKERS[found](**{"fileobj" if found in (known.GZIP, known.TAR_GZ) else "filename": raw})
    )


def _one(path: Path, found: Format, name: str) -> _Opened:
    """A single packed file, named like the archive without its last extension."""
    inner = PurePosixPath(name).stem or "file"
    raw = path.open("rb")
    try:
        yield Entry(_safe(inner), 0, "file"), partial(_unpacked, raw, found)
    finally:
        raw.close()


def _safe(name: str) -> str:
    """Return an entry's path, made relative and plain.

    :raises Unusable: it leads out of the folder, or is no name at all.
    """
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    shown = "".join(letter if letter.isprintable() else "�" for letter in plain)[:120]
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    drive = len(plain) > 1 and plain[1] == ":" and plain[0].isascii() and plain[0].isalpha()
    if plain.startswith("/") or drive or ".." in parts:
        _refuse(f"would write outside its folder: “{shown}”")
    if not parts:
        return "."
    too_long = len(plain.encode("utf-8", "replace")) > 1024 or any(
        len(p.encode("utf-8", "replace")) > 240 for p in parts
    )
    if too_long or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in plain):
        _refuse(f"holds a name that can't be written: “{shown}”")
    return "/".join(parts)
