"""What a store is, whatever keeps its bytes."""

from __future__ import annotations

import hashlib
import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from dam.errors import DamError, NotFound

CHUNK = 1 << 20


class Corrupt(DamError):
    """Bytes read back from a store are not the bytes that were put there."""


class StoreFailed(DamError):
    """A store did not do what it was asked: it is down, or refuses us. Trying again may help."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put: its URI (``store:key``), SHA-256 (hex) and length in bytes."""

    uri: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing: key, length in bytes, time of its last change (aware)."""

    key: str
    bytes: int
    modified: datetime


Source = Path | bytes | BinaryIO


@contextmanager
def reading(source: Source) -> Iterator[BinaryIO]:
    """Give a stream over a source; a stream that was given stays the caller's to close."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, Path):
        with source.open("rb") as stream:
            yield stream
    else:
        yield source


class Store(ABC):
    """Named objects. Every put is atomic: a reader sees the old object, the new one or none."""

    #: Whether objects that other programs put there appear whole, too. In a folder they grow as they are written.
    whole = True

    def __init__(self, name: str) -> None:
        self.name = name

    def uri(self, key: str) -> str:
        """Return ``store:key``, how the catalogue names the object."""
        return f"{self.name}:{key}"

    @abstractmethod
    def where(self, key: str) -> str:
        """Return where a person finds it with other tools: a path, or an ``s3://`` address."""

    @abstractmethod
    def put(self, key: str, source: Source, *, media_type: str | None = None) -> Stored:
        """Store a file, bytes or a stream under ``key``, replacing what was there; hashes while copying."""

    @abstractmethod
    def open(self, key: str, *, start: int = 0) -> BinaryIO:
        """Open an object for reading from byte ``start`` on. :raises NotFound: there is none."""

    @abstractmethod
    def local(self, key: str) -> AbstractContextManager[Path]:
        """Give a path to read the object from; only valid inside the ``with`` block."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Return whether there is an object."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Return an object's length in bytes. :raises NotFound: there is none."""

    def promised(self, key: str) -> dict[str, str]:
        """Return the digests (hex, by algorithm) that the store itself keeps of an object; empty where it has none."""
        del key
        return {}

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys begin with ``prefix``, sorted by key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is fine."""

    def rename(self, key: str, to: str) -> None:
        """Give an object another key, replacing what was there; the old one goes when the new one was read back.

        :raises NotFound: there is no such object. :raises Corrupt: the new one has other bytes; the old one stays.
        """
        with self.open(key) as stream:
            stored = self.put(to, stream)
        if self.digest(to) != stored.sha256:
            self.delete(to)
            raise Corrupt("its bytes are not those of the original", where=self.uri(to), remedy="Try again.")
        self.delete(key)

    def read(self, key: str) -> bytes:
        """Return an object's bytes. :raises NotFound: there is none."""
        with self.open(key) as stream:
            return stream.read()

    def part(self, key: str, *, start: int, length: int) -> bytes:
        """Return so many bytes of an object from ``start`` on, fewer at its end. :raises NotFound: there is none."""
        with self.open(key, start=start) as stream:
            return stream.read(length)

    def digest(self, key: str) -> str:
        """Return the SHA-256 (hex) of an object, read back from the store."""
        with self.open(key) as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def holds(self, key: str, sha256: str) -> bool:
        """Return whether an object is there and its bytes, read back, have this SHA-256 (hex)."""
        try:
            return self.digest(key) == sha256
        except NotFound:
            return False

    def put_content(self, source: Source, *, suffix: str = "", sha256: str | None = None) -> Stored:
        """Store content under a key made of its SHA-256, ``ab/cd/<sha256>``; what is there and is right stays.

        :param suffix: appended to the key, e.g. ``.json``.
        :param sha256: of the content, where it is known; the copy is held against it.
        :raises Corrupt: the content is not what it was when it was hashed.
        """
        if isinstance(source, bytes):
            sha256, length = sha256 or hashlib.sha256(source).hexdigest(), len(source)
        elif isinstance(source, Path):
            if sha256 is None:
                with source.open("rb") as stream:
                    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            length = source.stat().st_size
        else:
            return self.put_content(source.read(), suffix=suffix, sha256=sha256)
        key = content_key(sha256) + suffix
        if self.holds(key, sha256):
            return Stored(self.uri(key), sha256, length)
        stored = self.put(key, source)
        if stored.sha256 != sha256:
            self.delete(key)
            raise Corrupt("the file changed while it was being stored", where=self.uri(key))
        return stored

    @contextmanager
    def staging(self) -> Iterator[BinaryIO]:
        """Give a file, with a ``name``, that is filled on the way into this store; see :meth:`keep`."""
        with tempfile.NamedTemporaryFile(prefix="dam-staged-") as staged:
            yield cast(BinaryIO, staged)

    def keep(self, staged: BinaryIO, *, sha256: str) -> Stored:
        """Store what was written to a :meth:`staging` file, as :meth:`put_content` does; it is not to be used again.

        :param sha256: of what was written, hex. :raises Corrupt: that is not what was written.
        """
        staged.flush()
        return self.put_content(Path(staged.name), sha256=sha256)


def content_key(sha256: str) -> str:
    """Return the key of content: ``ab/cd/<sha256>``."""
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"
