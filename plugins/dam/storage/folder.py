"""A store in a local folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from dam.errors import NotFound
from dam.storage.keys import checked
from dam.storage.store import CHUNK, Entry, Source, Store, Stored, content_key, reading

#: Begins the names of files that are still being written; never listed.
PARTIAL = ".part-"
#: How often a put makes its folder again when deletes remove it.
TRIES = 100


class FolderStore(Store):
    """Objects as files below ``root``; a put is a temporary file, fsync, and a rename."""

    whole = False

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name)
        self.root = root

    def _path(self, key: str) -> Path:
        return self.root / checked(key)

    def where(self, key: str) -> str:
        """Return the path."""
        return str(self.root / key)

    def put(self, key: str, source: Source, *, media_type: str | None = None) -> Stored:
        """Store atomically; ``media_type`` is not kept by folders."""
        del media_type
        target = self._path(key)
        digest, length = hashlib.sha256(), 0
        handle, scratch = _scratch(target.parent)
        try:
            with os.fdopen(handle, "wb") as out, reading(source) as stream:
                while chunk := stream.read(CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    length += len(chunk)
                out.flush()
                os.fsync(out.fileno())
            Path(scratch).chmod(0o644)
            Path(scratch).replace(target)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, its folder too: nothing is left to sync
            _sync_folder(target.parent)
        return Stored(self.uri(key), digest.hexdigest(), length)

    @contextmanager
    def staging(self) -> Iterator[BinaryIO]:
        """Give a file in the folder itself, so that no byte of it moves when it is kept."""
        handle, scratch = _scratch(self.root)
        try:
            with open(scratch, "wb", opener=lambda *_: handle) as staged:
                yield staged
        finally:
            Path(scratch).unlink(missing_ok=True)

    def keep(self, staged: BinaryIO, *, sha256: str) -> Stored:
        """Rename the file; what was written is what was hashed on the way, and is read back by whoever needs proof."""
        key, length = content_key(sha256), staged.tell()
        if self.holds(key, sha256):
            return Stored(self.uri(key), sha256, length)
        staged.flush()
        os.fsync(staged.fileno())
        os.fchmod(staged.fileno(), 0o644)
        target = self._path(key)
        for _ in range(TRIES):  # a delete may remove the folder while it is empty
            with contextlib.suppress(FileNotFoundError):
                _make(target.parent)
                Path(staged.name).replace(target)
                _sync_folder(target.parent)
                return Stored(self.uri(key), sha256, length)
        raise OSError(f"the folder {target.parent} is removed again and again")

    def open(self, key: str, *, start: int = 0) -> BinaryIO:
        """Open the file."""
        try:
            stream = self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound("is not there", where=self.uri(key)) from None
        stream.seek(start)
        return stream

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Give the file's own path; don't write to it."""
        if not self.exists(key):
            raise NotFound("is not there", where=self.uri(key))
        yield self._path(key)

    def exists(self, key: str) -> bool:
        """Return whether there is a file."""
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        """Return the file's length."""
        if not self.exists(key):
            raise NotFound("is not there", where=self.uri(key))
        return self._path(key).stat().st_size

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Walk the folders that can hold the prefix; lazily, sorted by key."""
        folder, _, _ = prefix.rpartition("/")
        if folder:
            checked(folder)
        start = self.root / folder
        if start.is_dir():
            yield from self._walk(start, prefix)

    def _walk(self, folder: Path, prefix: str) -> Iterator[Entry]:
        def order(entry: os.DirEntry[str]) -> str:
            # a folder sorts as its objects' keys do, with the slash after its name
            return entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")

        try:
            entries = sorted(os.scandir(folder), key=order)
        except FileNotFoundError:  # removed meanwhile
            return
        for entry in entries:
            key = Path(entry.path).relative_to(self.root).as_posix()
            if entry.is_dir(follow_symlinks=False):
                if (key + "/").startswith(prefix) or prefix.startswith(key + "/"):
                    yield from self._walk(Path(entry.path), prefix)
            elif key.startswith(prefix) and not entry.name.startswith(PARTIAL):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if entry.is_file(follow_symlinks=False):
                    # copies and unpackers bring the old time of change with them; when it came here is st_ctime
                    changed = max(found.st_mtime, found.st_ctime)
                    yield Entry(key, found.st_size, datetime.fromtimestamp(changed, UTC))

    def rename(self, key: str, to: str) -> None:
        """Rename the file: no byte of it moves."""
        source, target = self._path(key), self._path(to)
        if not source.is_file():
            raise NotFound("is not there", where=self.uri(key))
        handle, scratch = _scratch(target.parent)  # keeps the folder there until the file is in it
        os.close(handle)
        try:
            source.replace(target)
            _sync_folder(target.parent)
        finally:
            Path(scratch).unlink(missing_ok=True)
        self.delete(key)  # it is gone; its folder may be empty now

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        target = self._path(key)
        target.unlink(missing_ok=True)
        for folder in target.parents:
            if folder == self.root or self.root not in folder.parents:
                break
            try:
                folder.rmdir()
            except OSError:
                break


def _scratch(folder: Path) -> tuple[int, str]:
    """Open a new file in a folder, which is made if need be; a delete may remove the folder while it is empty."""
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            _make(folder)
            return tempfile.mkstemp(prefix=PARTIAL, dir=folder)
    raise OSError(f"the folder {folder} is removed again and again")


def _make(folder: Path) -> None:
    """Make a folder and those above it, each durably."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    """Make what was renamed into, or made in, a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
