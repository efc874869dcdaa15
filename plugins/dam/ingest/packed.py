"""ZIP containers that documents and models are: opened without trust, every part read to its checksum.

What the container says of itself is asked before anything is unpacked, and no more is unpacked than it said.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any

from dam.ingest.damage import AGAIN, locked, refused, unusable
from dam.ingest.inspection import Job, Unusable
from dam.ingest.unpacking import check_table

_BLOCK = 1 << 20
#: A container may take so many seconds, and one more for so many bytes unpacked: its own size doesn't tell.
_PATIENCE, _BYTES_A_SECOND = 60.0, 4_000_000
_LOCKED = 0x1  # flag bit 0 of an entry: it is encrypted


class Packed:
    """An opened container. Use :func:`opened`.

    :param what: the thing it is, with its article, for the sentences of refusals. :param names: of its parts.
    """

    def __init__(self, archive: zipfile.ZipFile, job: Job, what: str) -> None:
        self._archive, self.what = archive, what
        self.infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        self.names = list(self.infos)
        self._check(archive.infolist(), job)

    def _check(self, infos: list[zipfile.ZipInfo], job: Job) -> None:
        total = check_table(infos, job.limits, packed=job.path.stat().st_size, what=self.what)
        job.more_time(_PATIENCE + total / _BYTES_A_SECOND)
        seen: set[str] = set()
        for info in infos:
            path = PurePosixPath(info.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
                raise Unusable(f"{self.what} has a part that would be written outside of it ({info.filename!r}).")
            if info.filename.lower() in seen:
                raise Unusable(f"{self.what} has the part {info.filename!r} twice.", remedy=AGAIN)
            seen.add(info.filename.lower())
            if info.flag_bits & _LOCKED:
                raise locked(self.what)

    def __contains__(self, name: str) -> bool:
        return name in self.infos

    def read(self, name: str) -> bytes:
        """Return a whole part, its checksum compared. :raises Unusable: it is missing or damaged."""
        with self.open(name) as stream:
            return stream.read()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Give a part as a stream; at its end the checksum is compared."""
        if name not in self.infos:
            raise Unusable(f"{self.what} lacks its part {name}.", remedy=AGAIN)
        with refused(f"{self.what}'s part {name}"), self._archive.open(name) as stream:
            yield stream

    def prove(self, name: str) -> None:
        """Read a part to its end."""
        with self.open(name) as stream:
            while stream.read(_BLOCK):
                pass


@contextmanager
def opened(job: Job, what: str) -> Iterator[Packed]:
    """Open a file as a container.

    :param what: the thing it is, with its article. :raises Unusable: it is cut off, damaged, locked or a bomb.
    """
    try:
        archive = zipfile.ZipFile(job.path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _broken(what, error) from error
    with archive:
        yield Packed(archive, job, what)


def _broken(what: str, error: Any) -> Unusable:
    if "not a zip file" in str(error):
        return Unusable(f"{what} is cut off: the list of its parts, which is at its end, is missing.", remedy=AGAIN)
    return unusable(what, error)
