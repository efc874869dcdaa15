"""The seven stores, in local folders or in an S3 bucket, and verified moves between them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from dam.errors import BadInput, NotFound
from dam.storage.folder import FolderStore
from dam.storage.store import Corrupt, Entry, Source, Store, Stored

__all__ = ["Corrupt", "Entry", "Source", "Storage", "Store", "Stored"]

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

    def move(self, uri: str, to_store: str, key: str, *, sha256: str) -> Stored:
        """Move an object, so that its bytes are never in fewer than one verified place.

        Copies, reads the copy back, compares, and only then removes the source. Run again after an
        interruption at any point, it ends in the same state.

        :param uri: of the source. :param to_store: name of the target store. :param key: of the target.
        :param sha256: what the bytes must be, hex.
        :raises Corrupt: the target does not match; it is removed and the source stays.
        :raises NotFound: neither source nor target is there.
        """
        source, source_key = self.resolve(uri)
        target = self.store(to_store)
        same_place = source is target and source_key == key
        if not (target.exists(key) and target.digest(key) == sha256):
            if same_place or not source.exists(source_key):
                raise NotFound("is neither at its source nor at its target", where=uri)
            with source.open(source_key) as stream:
                target.put(key, stream)
            found = target.digest(key)
            if found != sha256:
                target.delete(key)
                raise Corrupt(
                    f"its bytes are {found[:12]}… instead of {sha256[:12]}…",
                    where=target.uri(key),
                    remedy=f"The source {uri} was kept; compare it with a backup.",
                )
        if not same_place:
            source.delete(source_key)
        return Stored(target.uri(key), sha256, target.size(key))
