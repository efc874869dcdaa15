"""Metadata inside a file: read raw, then mapped to our fields by ``include/taxonomy/metadata.yaml``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyexiv2

from dam.taxonomy import MetadataSchema

pyexiv2.set_log_level(4)  # complaints about odd tags are of no use to anybody here

#: Longer values (thumbnails, maker notes) are not kept.
LONGEST = 4000


def read(path: Path) -> dict[str, Any]:
    """Return a file's EXIF, IPTC and XMP as one dict by exiv2 key; empty when it has none or can't be read."""
    try:
        image = pyexiv2.Image(str(path))
    except RuntimeError:
        return {}
    try:
        found: dict[str, Any] = {}
        for part in (image.read_exif, image.read_iptc, image.read_xmp):
            try:
                found |= part()
            except (RuntimeError, UnicodeDecodeError):
                continue
    finally:
        image.close()
    return clean(found)


def clean(found: dict[str, Any]) -> dict[str, Any]:
    """Return raw metadata as JSON keeps it, without what is empty or too long."""
    plain = ((key, _plain(value)) for key, value in found.items() if value is not None)
    return {key: value for key, value in plain if value not in (None, "", [], {})}


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it: language alternatives by language, no control characters."""
    if isinstance(value, dict):
        return {key.removeprefix('lang="').removesuffix('"'): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    text = str(value)
    if len(text) > LONGEST:
        return None
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", text).strip()


def first(raw: dict[str, Any], keys: list[str]) -> str | None:
    """Return the first filled value of ``keys`` as text: the default language, lists joined."""
    for key in keys:
        value = raw.get(key)
        if isinstance(value, dict):
            value = value.get("x-default") or next(iter(value.values()), None)
        if isinstance(value, list):
            value = "; ".join(str(item) for item in value)
        if value:
            return str(value)
    return None


def describe(raw: dict[str, Any], schema: MetadataSchema) -> dict[str, Any]:
    """Return our descriptive fields from raw metadata; ``date_created`` as an aware datetime."""
    fields: dict[str, Any] = {name: first(raw, data.sources) for name, data in schema.fields.items()}
    fields["date_created"] = _moment(fields.get("date_created"), raw.get("Exif.Photo.OffsetTimeOriginal"))
    return {name: value for name, value in fields.items() if value is not None}


def keywords(raw: dict[str, Any], schema: MetadataSchema) -> list[str]:
    """Return the embedded keywords, each once, in their order."""
    found: dict[str, None] = {}
    for key in schema.keywords:
        value = raw.get(key)
        for word in value if isinstance(value, list) else [value] if value else []:
            found.setdefault(str(word).strip())
    return [word for word in found if word]


def _moment(text: str | None, offset: str | None) -> datetime | None:
    """Read a date of Exif, IPTC or XMP; without a time zone it counts as UTC."""
    if not text:
        return None
    text = re.sub(r"^(\d{4})[:-](\d{2})[:-](\d{2})", r"\1-\2-\3", text.strip())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None and offset and re.fullmatch(r"[+-]\d\d:\d\d", offset):
        moment = datetime.fromisoformat(f"{moment.isoformat()}{offset}")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
