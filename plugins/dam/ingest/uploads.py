"""Uploads that can be cut off and gone on with, file by file and part by part.

An upload fills a drop of its own, ``drops/upload-up_…``, under a card that keeps everybody else away from it until
it is complete. The parts of a file lie as objects below ``.uploads/`` in the inbox until all are there: so any
server of several can take the next part, a server that dies loses nothing, and folders and S3 are the same. That
costs one more read and write of each large file; a file that comes in one part goes to its place at once.

Every part is held to the SHA-256 its sender gave with it when it arrives, and again when the parts are joined; the
gate then holds the whole file to the SHA-256 of what was joined.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import yaml
from sqlalchemy import select

from dam.catalog.models import Campaign, new_id
from dam.errors import BadInput, NotFound, Refused
from dam.ingest import cards
from dam.ingest.drops import DROPS
from dam.ingest.paperwork import BEGUN, CARD, MARKER, basename
from dam.storage.keys import checked

if TYPE_CHECKING:
    from dam.services import Services

PARTS = ".uploads/"
#: The list of checksums that an upload ends with.
SUMS = ".upload.sha256"
#: Bytes of a part: what is asked for, and the most that is taken. A large file goes in about so many parts.
PART, MOST, SO_MANY = 8 << 20, 64 << 20, 1000
_NAME = re.compile(r"upload-up_[0-9a-z]{26}")
_FILE = re.compile(r"[0-9a-f]{32}")
_RESERVED = (MARKER, CARD)


class WrongOffset(Refused):
    """A part does not begin where the last one ended; ``offset`` says where to go on."""

    def __init__(self, offset: int, where: str) -> None:
        super().__init__("the part does not begin where the last one ended", where=where, remedy=f"Go on at {offset}.")
        self.offset = offset


@dataclass(slots=True)
class _Progress:
    """What is there of one file: bytes in all, its parts by offset, the SHA-256 of the whole when it is."""

    length: int
    parts: dict[int, tuple[str, int]] = field(default_factory=dict)  # offset → key, bytes
    sha256: str | None = None

    @property
    def offset(self) -> int:
        """How far the file is there without a gap."""
        if self.sha256 is not None:
            return self.length
        at = 0
        while at in self.parts:
            at += self.parts[at][1]
        return at


def begin(services: Services, *, person: str, card: dict[str, Any], source: str = "upload") -> str:
    """Return the name of a fresh upload; :func:`complete` ends it.

    :param card: ``campaign``, ``supplier`` and ``rights`` as in ``batch.yaml``. :param source: ``upload`` or ``api``.
    :raises BadInput: the card has a fault, or there is no such campaign.
    """
    kept, faults = cards.check({name: card.get(name) for name in ("campaign", "supplier", "rights")})
    with services.session() as session:
        slug = kept.get("campaign")
        if slug and session.scalar(select(Campaign.id).where(Campaign.slug == slug)) is None:
            faults.append(f"There is no campaign {slug!r}.")
    if faults:
        raise BadInput(" ".join(faults), where="card", remedy="Mend it and send it again.")
    upload = f"upload-{new_id('up')}"
    kept |= {"sent_by": person, "source": source}
    services.storage.inbox.put(f"{DROPS}{upload}/{BEGUN}", yaml.safe_dump(kept, allow_unicode=True).encode())
    return upload


def location(upload: str) -> str:
    """Return where an upload's files lie in the inbox. :raises NotFound: no upload is called so."""
    if not _NAME.fullmatch(upload):
        raise NotFound("there is no such upload", where=upload)
    return DROPS + upload


def owner(services: Services, *, upload: str) -> str:
    """Return who began an upload. :raises NotFound: there is none of that name that is not complete yet."""
    return str(_card(services, upload)["sent_by"])


def unfinished(services: Services, *, person: str) -> list[dict[str, Any]]:
    """Return a person's uploads that are not complete.

    :returns: rows of ``{"upload", "begun_at", "files", "done", "bytes", "there"}``: how many files and how many of
        them are done, how many bytes and how many of them are there.
    """
    found = []
    for entry in services.storage.inbox.list(f"{DROPS}upload-"):
        upload = entry.key.split("/")[1]
        if basename(entry.key) != BEGUN or not _NAME.fullmatch(upload) or owner(services, upload=upload) != person:
            continue
        files = _survey(services, upload).values()
        found.append(
            {
                "upload": upload,
                "begun_at": entry.modified.isoformat(timespec="seconds"),
                "files": len(files),
                "done": sum(file.sha256 is not None for file in files),
                "bytes": sum(file.length for file in files),
                "there": sum(file.offset for file in files),
            }
        )
    return found


def state(services: Services, *, upload: str) -> dict[str, Any]:
    """Return how far an upload is.

    :returns: ``{"upload", "card", "files"}``; a file is ``{"file", "path", "bytes", "fingerprint", "offset", "done"}``.
    :raises NotFound: there is no such upload.
    """
    known = _survey(services, upload)
    records = _records(services, upload, known)
    return {
        "upload": upload,
        "card": _card(services, upload),
        "files": [
            records[file] | {"file": file, "offset": progress.offset, "done": progress.sha256 is not None}
            for file, progress in sorted(known.items(), key=lambda item: str(records[item[0]]["path"]))
        ],
    }


def declare(services: Services, *, upload: str, files: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say which files are to come; the same file again is gone on with.

    :param files: ``{"path", "bytes", "fingerprint"}``; the fingerprint is whatever tells two files of one path
        apart, such as the time of the last change.
    :returns: in the same order, ``{"file", "path", "offset", "part_bytes", "done"}``.
    :raises NotFound: there is no such upload. :raises BadInput: a path can't be kept, or a file is too large.
    """
    _card(services, upload)
    wanted = [_declared(services, file) for file in files]
    known = _survey(services, upload)
    inbox = services.storage.inbox

    def note(one: tuple[str, dict[str, Any]]) -> None:
        file, record = one
        for other in known:
            if other != file and other[:16] == file[:16]:  # another file under the same path: the newer one counts
                _clear(services, f"{PARTS}{upload}/{other}/")
        if file not in known:
            inbox.put(f"{PARTS}{upload}/{file}/file-{record['bytes']}", json.dumps(record).encode())
            if record["bytes"] == 0:
                _put_whole(services, upload, file, record["path"], io.BytesIO(b""))

    _each(note, wanted)
    known = _survey(services, upload)
    return [
        {
            "file": file,
            "path": record["path"],
            "offset": known[file].offset,
            "part_bytes": min(MOST, max(PART, -(-record["bytes"] // SO_MANY))),
            "done": known[file].sha256 is not None,
        }
        for file, record in wanted
    ]


def offset(services: Services, *, upload: str, file: str) -> dict[str, Any]:
    """Return how far a file is there: ``{"offset", "bytes", "done"}``. :raises NotFound: it was not declared."""
    progress = _progress(services, upload, file)
    return {"offset": progress.offset, "bytes": progress.length, "done": progress.sha256 is not None}


def put_part(
    services: Services, *, upload: str, file: str, offset: int, data: BinaryIO, sha256: str | None = None
) -> dict[str, Any]:
    """Take the part of a file that begins at ``offset``; the last one ends the file.

    :param data: a stream that can be read twice. :param sha256: of the part, hex; it is held to it.
    :returns: as :func:`offset`.
    :raises WrongOffset: it does not begin where the last one ended. :raises BadInput: it is not what was sent.
    """
    progress = _progress(services, upload, file)
    if offset != progress.offset:
        raise WrongOffset(progress.offset, f"{upload}/{file}")
    length = data.seek(0, io.SEEK_END)
    data.seek(0)
    found = hashlib.file_digest(cast(Any, data), "sha256").hexdigest()
    data.seek(0)
    if sha256 is not None and sha256.lower() != found:
        raise BadInput("the part was changed on its way", where=f"{upload}/{file}", remedy="Send it again.")
    if length > MOST or offset + length > progress.length or (length == 0 and progress.length > 0):
        raise BadInput(
            f"a part of {length} bytes is not asked for", where=f"{upload}/{file}",
            remedy=f"Send up to {min(MOST, progress.length - offset)} bytes.",
        )  # fmt: skip
    path = str(_records(services, upload, {file: progress})[file]["path"])
    if length == progress.length:
        progress.sha256 = _put_whole(services, upload, file, path, data)
    elif length:
        key = f"{PARTS}{upload}/{file}/part-{offset:016d}-{found}"
        services.storage.inbox.put(key, data)
        progress.parts[offset] = (key, length)
        if progress.offset == progress.length:
            progress.sha256 = _join(services, upload, file, path, progress)
    return {"offset": progress.offset, "bytes": progress.length, "done": progress.sha256 is not None}


def put_file(services: Services, *, upload: str, path: str, data: BinaryIO) -> dict[str, Any]:
    """Put a whole file of an upload at once: for programs, and for what is small.

    :returns: ``{"path", "sha256", "bytes"}``.
    """
    length = data.seek(0, io.SEEK_END)
    data.seek(0)
    [told] = declare(services, upload=upload, files=[{"path": path, "bytes": length, "fingerprint": new_id("one")}])
    if not told["done"]:
        _put_whole(services, upload, told["file"], told["path"], data)
    digest = _progress(services, upload, told["file"]).sha256
    return {"path": told["path"], "sha256": digest, "bytes": length}


def complete(services: Services, *, upload: str) -> str:
    """Say that an upload is complete; return its location, where it is found from now on.

    :raises NotFound: there is no such upload. :raises Refused: a file is not there as a whole, or there is none.
    """
    card, at, inbox = _card(services, upload), location(upload), services.storage.inbox
    if not inbox.exists(f"{at}/{MARKER}"):
        inbox.put(f"{at}/{SUMS}", _sums(services, upload).encode())
        inbox.put(f"{at}/{CARD}", yaml.safe_dump(card, allow_unicode=True).encode())
        inbox.put(f"{at}/{MARKER}", b"")
    _clear(services, f"{PARTS}{upload}/")
    inbox.delete(f"{at}/{BEGUN}")
    return at


def discard(services: Services, *, upload: str) -> None:
    """Give an upload up that is not complete: what is there of it goes. :raises NotFound: there is no such upload."""
    _card(services, upload)
    at = location(upload)
    if services.storage.inbox.exists(f"{at}/{MARKER}"):
        raise Refused("the upload is complete", where=upload, remedy="See its batch.")
    _clear(services, f"{PARTS}{upload}/")
    _clear(services, f"{at}/", last=f"{at}/{BEGUN}")


# ------------------------------------------------------------------------------------------------ helpers


def _card(services: Services, upload: str) -> dict[str, Any]:
    try:
        card: dict[str, Any] = yaml.safe_load(services.storage.inbox.read(f"{location(upload)}/{BEGUN}"))
    except NotFound:
        raise NotFound("there is no such upload, or it is complete", where=upload) from None
    return card


def _sums(services: Services, upload: str) -> str:
    """Return the checksums of an upload's files. :raises Refused: one is not there as a whole, or there is none."""
    known = _survey(services, upload)
    paths = {file: str(record["path"]) for file, record in _records(services, upload, known).items()}
    gaps = sorted(paths[file] for file, progress in known.items() if progress.sha256 is None)
    if gaps or not known:
        what = f"{', '.join(gaps[:5])} is not there as a whole" if gaps else "no file is there"
        raise Refused(what, where=upload, remedy="Go on with the upload, then complete it.")
    return "".join(f"{progress.sha256}  {paths[file]}\n" for file, progress in sorted(known.items()))


def _declared(services: Services, file: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a file's id and record. The id begins alike for files of one path."""
    path, length = str(file["path"]), int(file["bytes"])
    name = basename(path)
    if name in _RESERVED or name.startswith(".") or any(ord(letter) < 32 for letter in path):
        raise BadInput(
            f"{path!r} can't be a file's name here", where="upload", remedy="Rename the file, or leave it out."
        )
    checked(f"{DROPS}upload-{'x' * 29}/{path}")
    if not 0 <= length <= services.taxonomy.limits.max_bytes:
        most = services.taxonomy.limits.max_bytes / 1e9
        raise BadInput(f"is larger than {most:g} GB", where=path, remedy="Ask the librarian how to deliver it.")
    record = {"path": path, "bytes": length, "fingerprint": str(file.get("fingerprint") or "")}
    return _short(path) + _short(f"{length}:{record['fingerprint']}"), record


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _survey(services: Services, upload: str, file: str = "") -> dict[str, _Progress]:
    """Return what is there of each file of an upload, from one listing of its parts."""
    prefix = f"{PARTS}{upload}/"
    found: dict[str, _Progress] = {}
    rest = []
    for entry in services.storage.inbox.list(f"{prefix}{file}"):
        at, _, name = entry.key.removeprefix(prefix).partition("/")
        what, _, value = name.partition("-")
        if what == "file":
            found[at] = _Progress(int(value))
        else:
            rest.append((at, what, value, entry))
    for at, what, value, entry in rest:
        if at not in found:
            continue
        if what == "done":
            found[at].sha256 = value
        elif what == "part":
            found[at].parts.setdefault(int(value.partition("-")[0]), (entry.key, entry.bytes))
    return found


def _progress(services: Services, upload: str, file: str) -> _Progress:
    _card(services, upload)
    found = _survey(services, upload, f"{file}/").get(file) if _FILE.fullmatch(file) else None
    if found is None:
        raise NotFound("there is no such file in the upload", where=f"{upload}/{file}", remedy="Declare it first.")
    return found


def _records(services: Services, upload: str, known: dict[str, _Progress]) -> dict[str, dict[str, Any]]:
    """Return what was declared of each file."""
    found: dict[str, dict[str, Any]] = {}

    def read(file: str) -> None:
        found[file] = json.loads(services.storage.inbox.read(f"{PARTS}{upload}/{file}/file-{known[file].length}"))

    _each(read, known)
    return found


def _put_whole(services: Services, upload: str, file: str, path: str, data: BinaryIO) -> str:
    """Put a file in its place, note that it is done, and return its SHA-256."""
    inbox = services.storage.inbox
    stored = inbox.put(f"{location(upload)}/{path}", data)
    inbox.put(f"{PARTS}{upload}/{file}/done-{stored.sha256}", b"")
    return stored.sha256


def _join(services: Services, upload: str, file: str, path: str, progress: _Progress) -> str:
    """Join a file's parts, each held to the SHA-256 it came with; return that of the whole."""
    inbox = services.storage.inbox
    parts = [progress.parts[at][0] for at in sorted(progress.parts)]
    try:
        return _put_whole(services, upload, file, path, cast(BinaryIO, _Joined(inbox.open, parts)))
    finally:  # also when one is not what it was: the file is then sent again
        _each(inbox.delete, parts)


class _Joined(io.RawIOBase):
    """Parts, one after the other, as one stream."""

    def __init__(self, opener: Callable[[str], BinaryIO], keys: list[str]) -> None:
        self._opener, self._keys = opener, list(keys)
        self._part: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._part is None:
                if not self._keys:
                    return b""
                self._part, self._digest = self._opener(self._keys[0]), hashlib.sha256()
            if block := self._part.read(size):
                self._digest.update(block)
                return block
            self._part.close()
            self._part = None
            key = self._keys.pop(0)
            if not key.endswith(self._digest.hexdigest()):
                raise BadInput("the part was damaged after it arrived", where=key, remedy="Send the file again.")


def _clear(services: Services, prefix: str, last: str = "") -> None:
    """Delete everything below a prefix, ``last`` after all else."""
    inbox = services.storage.inbox
    _each(inbox.delete, [entry.key for entry in inbox.list(prefix) if entry.key != last])
    if last:
        inbox.delete(last)


def _each(work: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Do the work for each item, several at once: over S3 each takes a round trip."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, items))
