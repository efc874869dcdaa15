"""What goes out to a channel, where it will be seen, and how it is put there and taken away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from dam.catalog.models import Publication, Rendition, Version
from dam.channels import JsonChannel, OriginChannel
from dam.channels.wire import Wait, fill, pointed, send
from dam.errors import BadInput, Refused
from dam.renditions import render

if TYPE_CHECKING:
    from dam.services import Services

_GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Item:
    """One file that goes out: its source in a store and its key in the origin store."""

    name: str
    source_uri: str
    key: str
    url: str
    media_type: str
    sha256: str
    bytes: int
    width: int | None
    height: int | None

    def endpoint(self) -> dict[str, Any]:
        """Return what the publication remembers of it."""
        return {
            "kind": "file",
            "name": self.name,
            "url": self.url,
            "key": self.key,
            "media_type": self.media_type,
            "sha256": self.sha256,
            "bytes": self.bytes,
        }

    def public(self) -> dict[str, Any]:
        """Return what a channel's body template is given of it."""
        return {
            "name": self.name,
            "url": self.url,
            "media_type": self.media_type,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "width": self.width,
            "height": self.height,
        }


def items(
    services: Services, *, publication_id: str, channel: OriginChannel | JsonChannel, run: str | None
) -> list[Item]:
    """Return the files of a publication in the order of the channel's recipes, rendering what is missing.

    A version that is not an image goes out as its original bytes.

    :raises Refused: a recipe gave no rendition.
    """
    with services.session() as session:
        publication = session.get_one(Publication, publication_id)
        version = publication.version
        folder = _folder(publication, version, channel)
        if not version.media_type.startswith("image/"):
            return [_original(services, version, folder)]
        version_id = version.id
    made = render.render(services, version_ids=[version_id], recipes=channel.recipes, run=run)
    ids = {row["recipe"]: row["rendition_id"] for row in made if "rendition_id" in row}
    if missing := [recipe for recipe in channel.recipes if recipe not in ids]:
        notes = " ".join(row["skipped"] for row in made if "skipped" in row)
        raise Refused(
            f"The recipes {', '.join(missing)} gave no rendition. {notes}".strip(),
            where=f"version {version_id}",
            remedy=f"Check them in recipes.yaml, or leave them out of channel {channel.name}.",
        )
    with services.session() as session:
        version = session.get_one(Version, version_id)
        return [
            _rendition(services, version, session.get_one(Rendition, ids[recipe]), folder) for recipe in channel.recipes
        ]


def _folder(publication: Publication, version: Version, channel: OriginChannel | JsonChannel) -> PurePosixPath:
    """Return the origin folder of a publication. Another channel than the origin itself has its own
    below it, named by the publication, so that withdrawing one never touches the other."""
    asset = version.asset
    campaign = asset.campaign.slug if asset and asset.campaign else "library"
    name = asset.name if asset else version.id
    folder = PurePosixPath(_safe(campaign)) / _safe(name) / f"v{version.number or 0:02d}"
    if isinstance(channel, OriginChannel) and channel.name == "web":
        return folder
    return folder / f"{channel.name}-{publication.id[-10:]}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def _original(services: Services, version: Version, folder: PurePosixPath) -> Item:
    name = PurePosixPath(version.filename)
    key = str(folder / f"{_safe(name.stem)}-{version.sha256[:12]}{name.suffix.lower()}")
    return Item(
        name="original",
        source_uri=version.storage_uri,
        key=key,
        url=_url(services, key),
        media_type=version.media_type,
        sha256=version.sha256,
        bytes=version.bytes,
        width=version.width,
        height=version.height,
    )


def _rendition(services: Services, version: Version, row: Rendition, folder: PurePosixPath) -> Item:
    key = str(folder / render.url_name(version, row))
    return Item(
        name=row.recipe,
        source_uri=row.storage_uri,
        key=key,
        url=_url(services, key),
        media_type=row.media_type,
        sha256=row.sha256,
        bytes=row.bytes,
        width=row.width,
        height=row.height,
    )


def _url(services: Services, key: str) -> str:
    return f"{services.settings.origin_url.rstrip('/')}/{quote(key)}"


def put(services: Services, item: Item) -> None:
    """Copy an item into the origin store; the same bytes there already are left alone.

    :raises Refused: the source's bytes are not the ones the catalogue knows.
    """
    origin = services.storage.origin
    if origin.exists(item.key) and origin.digest(item.key) == item.sha256:
        return
    store, key = services.storage.resolve(item.source_uri)
    with store.open(key) as source:
        stored = origin.put(item.key, source, media_type=item.media_type)
    if stored.sha256 != item.sha256:
        origin.delete(item.key)
        raise Refused(
            f"the bytes of {item.name} are not the ones the catalogue knows.",
            where=item.source_uri,
            remedy="Check the stored file (`dam audit verify`, fixity report) and render it again.",
        )


def content(publication: Publication, sent: list[Item]) -> dict[str, Any]:
    """Return what a publication says: the JSON-able values that a channel template's ``{placeholders}`` stand for."""
    version = publication.version
    asset, text = version.asset, version.description
    name = asset.name if asset else version.filename
    return {
        "publication_id": publication.id,
        "version_id": version.id,
        "version": version.number,
        "asset": name,
        "campaign": asset.campaign.slug if asset and asset.campaign else "",
        "filename": version.filename,
        "media_type": version.media_type,
        "sha256": version.sha256,
        "title": (text.title if text else None) or name,
        "alt_text": (text.alt_text if text else None) or "",
        "description": (text.description if text else None) or "",
        "credit_line": (text.credit_line if text else None) or "",
        "live_until": publication.ends_at.isoformat() if publication.ends_at else None,
        "url": sent[0].url if sent else "",
        "renditions": [item.public() for item in sent],
    }


def key_of(publication: Publication) -> str:
    """Return the idempotency key that is sent to a channel.

    A key names an entry for ever, also one that was removed; so a delivery after a takedown has another.
    """
    key, attempt = publication.idempotency_key, publication.attempt
    return key if attempt == 1 else f"{key}-{attempt}"


def values(services: Services, said: dict[str, Any], *, remote_id: str | None = None) -> dict[str, Any]:
    """Return what the ``{placeholders}`` of a channel template stand for: the content, and the channel's access."""
    access = {"cms_url": services.settings.cms_url.rstrip("/"), "cms_token": services.settings.cms_token}
    return said | access | ({"remote_id": quote(remote_id, safe="")} if remote_id is not None else {})


def post(channel: JsonChannel, known: dict[str, Any], *, key: str, wait: Wait) -> tuple[str, str]:
    """Make the entry at a JSON channel and return its identifier and public URL.

    :param key: the idempotency key: sent again, the channel answers the entry it made the first time.
    """
    where = f"channel {channel.name}"
    answer = send(channel.publish, known, channel=channel.name, key=key, wait=wait)
    try:
        document = answer.json()
    except ValueError as error:
        raise BadInput(
            f"the answer is not JSON: {answer.text[:200]!r}.",
            where=where,
            remedy="Check the URL in the channel's template.",
        ) from error
    remote_id = pointed(document, channel.id_pointer, where=where)
    base = httpx.URL(str(fill(channel.publish.url, known, where=where)))
    return remote_id, str(base.join(pointed(document, channel.url_pointer, where=where)))


def remove_entry(channel: JsonChannel, known: dict[str, Any], *, key: str, wait: Wait) -> None:
    """Ask a JSON channel to remove the entry; one that is gone already is fine."""
    send(channel.withdraw, known, channel=channel.name, key=f"{key}-withdraw", wait=wait, accept=_GONE)
