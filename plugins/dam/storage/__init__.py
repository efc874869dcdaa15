"""The seven stores, in local folders or in an S3 bucket, and verified moves between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from dam.errors import BadInput
from dam.storage.folder import FolderStore
from dam.storage.store import Corrupt, Entry, Source, Store, Stored

__all__ = ["Corrupt", "Entry", "Moving", "Source", "Storage", "Store", "Stored"]

NAMES = ("inbox", "vault", "renditions", "origin", "cold", "quarantine", "reports")
#: Storage class of the cold store on S3: rarely read, but readable at once, so that a move can be verified.
COLD_CLASS = "GLACIER_IR"


class Storage:
    """All stores of one installation.

    :param url: a folder, or ``s3://bucket/prefix``.
    :param options: of the S3 client: ``endpoint_url``, ``aws_access_key_id``, …

    ``inbox`` takes what arrives; ``vault`` keeps originals by content; ``renditions`` what is made from
    them; ``origin`` what the public may read; ``cold`` the archive; ``quarantine`` refused files;
    ``reports`` documents.
    """

    def __init__(self, url: str, options: dict[str, str] | None = None) -> None:
        if url.startswith("s3://"):
            from dam.storage.s3 import S3Store, make_client

            parts = urlsplit(url)
            prefix = parts.path.strip("/")
            client = make_client(options)
            self._stores: dict[str, Store] = {
                name: S3Store(
                    name,
                    client,
                    parts.netloc,
                    f"{prefix}/{name}/" if prefix else f"{name}/",
                    COLD_CLASS if name == "cold" else "",
                )
                for name in NAMES
            }
        else:
            self._stores = {name: FolderStore(name, Path(url) / name) for name in NAMES}
        self.inbox = self._stores["inbox"]
        self.vault = self._stores["vault"]
        self.renditions = self._stores["renditions"]
        self.origin = self._stores["origin"]
        self.cold = self._stores["cold"]
        self.quarantine = self._stores["quarantine"]
        self.reports = self._stores["reports"]

    def store(self, name: str) -> Store:
        """Return a store by name. :raises BadInput: there is none of that name."""
        if name not in self._stores:
            raise BadInput(f"{name!r} is no store", where="storage", remedy=f"Use one of: {', '.join(NAMES)}.")
        return self._stores[name]

    def resolve(self, uri: str) -> tuple[Store, str]:
        """Return the store and the key that a URI ``store:key`` names."""
        name, _, key = uri.partition(":")
        return self.store(name), key

    @contextmanager
    def moving(self) -> Iterator[Moving]:
        """Move objects, so that their bytes are never in fewer than one verified place.

        The sources go when the block ends without an exception; so the transaction that names the copies must
        end inside it: ``with storage.moving() as moving, services.session() as session: …``. Run again after
        an interruption at any point, it ends in the same state.
        """
        moving = Moving(self)
        yield moving
        for uri in moving.sources:
            store, key = self.resolve(uri)
            store.delete(key)


class Moving:
    """Objects on the move; see :meth:`Storage.moving`."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.sources: list[str] = []  # what goes when all is well

    def copy(self, uri: str, to: str, *, sha256: str) -> None:
        """Copy an object, read the copy back and compare; then its source may go at the end.

        :param uri: of the source. :param to: URI of the copy. :param sha256: what the bytes must be, hex.
        :raises Corrupt: the copy does not match; it is removed and the source stays.
        :raises NotFound: neither the source nor a right copy is there.
        """
        target, key = self.storage.resolve(to)
        if not target.holds(key, sha256):
            source, source_key = self.storage.resolve(uri)
            with source.open(source_key) as stream:
                target.put(key, stream)
            if not target.holds(key, sha256):
                if uri != to:
                    target.delete(key)
                raise Corrupt(
                    f"its bytes are not those of {sha256[:12]}…",
                    where=uri,
                    remedy="It was left where it is; compare it with a backup.",
                )
        if uri != to:
            self.sources.append(uri)

    def leave(self, uri: str, *, copy: str, sha256: str) -> None:
        """Let a source go at the end whose copy was made before; a source that is gone already is fine.

        :raises Corrupt: the copy is not there or does not match; the source stays.
        """
        source, source_key = self.storage.resolve(uri)
        if uri == copy or not source.exists(source_key):
            return
        target, key = self.storage.resolve(copy)
        if not target.holds(key, sha256):
            raise Corrupt(
                f"its bytes are not those of {sha256[:12]}…",
                where=copy,
                remedy=f"{uri} was left where it is; compare both with a backup.",
            )
        self.sources.append(uri)
