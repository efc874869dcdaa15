"""Metadata inside a file: read raw, then mapped to our fields by ``include/taxonomy/metadata.yaml``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from hashlib import md5
from pathlib import Path
from typing import Any

import pyexiv2

from dam.ingest.content import Content
from dam.ingest.safety import ends
from dam.taxonomy import FieldData, MetadataSchema

pyexiv2.set_log_level(4)  # complaints about odd tags are of no use to anybody here

#: Longer values (thumbnails, maker notes) are not kept.
LONGEST = 4000
#: Photoshop's image resources are looked for in so many bytes of the beginning.
_FAR = 4_000_000
#: One as large as this is none.
_LARGE = 1_000_000
#: Of our own: whether somebody changed IPTC-IIM after the XMP was written, by the digest Photoshop leaves.
IIM_IS_NEWER = "Iptc.Digest.Changed"
_UTF8 = "\x1b%G"  # ISO 2022: what IIM's CodedCharacterSet says for UTF-8
_GPS = re.compile(
    r"^(Exif\.GPSInfo\.|Exif\.Image\.GPSTag|Xmp\.exif\.GPS|QuickTime\..*(location|xyz)|Xmp\.iptcExt\.\w*Location\w*GPS)",
    re.IGNORECASE,
)


# --------------------------------------------------------------------------------------------------- read


def read(path: Path) -> dict[str, Any]:
    """Return a file's EXIF, IPTC and XMP as one dict by exiv2 key; empty when it has none or can't be read.

    Text is decoded by what the file says of its encoding, and where it says nothing as UTF-8 if it is that, else
    as Windows-1252, which is what older programs wrote.
    """
    try:
        image = pyexiv2.Image(str(path))
    except (RuntimeError, UnicodeDecodeError):
        return {}
    try:
        found: dict[str, Any] = {}
        for part in (image.read_exif, image.read_iptc, image.read_xmp):
            found |= _decoded(part)
    finally:
        image.close()
    if any(key.startswith("Iptc.") for key in found) and _iim_is_newer(path):
        found[IIM_IS_NEWER] = "yes"
    return clean(found)


def clean(found: dict[str, Any]) -> dict[str, Any]:
    """Return raw metadata as JSON keeps it, without what is empty or too long."""
    plain = ((key, _plain(value)) for key, value in found.items() if value is not None)
    return {key: value for key, value in plain if value not in (None, "", [], {})}


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the XMP of a sidecar by exiv2 key; empty when it is none or can't be read."""
    return {key: value for key, value in read(path).items() if key.startswith("Xmp.")}


def _decoded(part: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    for encoding in ("utf-8", "cp1252", "latin-1"):
        try:
            return part(encoding)
        except UnicodeDecodeError:
            continue
        except RuntimeError:
            return {}
    return {}


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


def _iim_is_newer(path: Path) -> bool:
    """Return whether the IPTC-IIM block is not the one that was there when the XMP was written.

    Photoshop's image resource 0x0425 keeps the MD5 of the IIM block (resource 0x0404) as its writer left it;
    a program that knows IIM alone leaves it behind (Metadata Working Group, Guidelines 2.0, section 2.3.2).
    """
    with Content(path) as content:
        data = content.read(0, min(ends.of_front(content), _FAR + 2 * _LARGE))
    digest, block = (_resource(data, number) for number in (0x0425, 0x0404))
    return digest is not None and block is not None and digest != md5(block, usedforsecurity=False).digest()


def _resource(data: bytes, number: int) -> bytes | None:
    """Return one of Photoshop's image resources, wherever the container keeps them."""
    at = data.find(b"8BIM" + number.to_bytes(2, "big"), 0, _FAR)
    if at < 0 or at + 6 >= len(data):
        return None
    name = data[at + 6] + 1
    start = at + 6 + name + name % 2
    length = int.from_bytes(data[start : start + 4], "big")
    return data[start + 4 : start + 4 + length] if length < _LARGE else None


def without_place(raw: dict[str, Any]) -> dict[str, Any]:
    """Return raw metadata without what tells the place by coordinates, for people who may not see it."""
    return {key: value for key, value in raw.items() if not _GPS.match(key)}


def tells_place(raw: dict[str, Any]) -> bool:
    """Return whether raw metadata tells a place by coordinates."""
    return any(_GPS.match(key) for key in raw)


# ---------------------------------------------------------------------------------------------------- map


@dataclass
class Described:
    """Our descriptive fields as the file tells them, and remarks where it contradicts itself.

    :param fields: by name; ``date_created`` is an aware datetime. :param remarks: for the batch's receipt.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


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


def describe(raw: dict[str, Any], schema: MetadataSchema) -> Described:
    """Return our descriptive fields from raw metadata.

    Where Exif, IPTC-IIM and XMP contradict each other, the order is that of the Metadata Working Group
    (Guidelines for Handling Image Metadata 2.0, sections 2.3 and 5): Exif, then XMP, then IIM; but IIM before
    XMP when it was changed after the XMP was written.
    """
    told = Described()
    for name, data in schema.fields.items():
        said = [(family, text) for family, keys in _order(data, raw) if (text := _said(raw, keys, schema))]
        if not said:
            continue
        told.fields[name] = said[0][1]
        others = {family: text for family, text in said[1:] if not _alike(said[0][1], text, name)}
        if others:
            also = "; ".join(f"{family} says “{_short(text)}”" for family, text in others.items())
            told.remarks.append(f"{data.iptc}: {said[0][0]} was taken, “{_short(said[0][1])}”; {also}.")
    if "date_created" in told.fields:
        moment, zone_is_known = _moment(told.fields.pop("date_created"), raw)
        if moment is not None:
            told.fields["date_created"] = moment
            if not zone_is_known:
                told.remarks.append("Date Created: the file tells no time zone; UTC was taken.")
    return told


def _order(data: FieldData, raw: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the families of sources, the one that wins first."""
    middle = [("XMP", data.xmp), ("IPTC-IIM", data.iim)]
    if raw.get(IIM_IS_NEWER):
        middle.reverse()
    return [("Exif", data.exif), *middle, ("the file", data.other)]


def _said(raw: dict[str, Any], keys: list[str], schema: MetadataSchema) -> str | None:
    """Return what a family says, unless it is only what a camera writes into every file."""
    text = first(raw, keys)
    return None if text is None or any(re.fullmatch(known, text) for known in schema.meaningless) else text


def _alike(one: str, other: str, name: str) -> bool:
    """Tell whether another family means the same: IIM cuts values off, and dates are written in several ways."""
    if name == "date_created":
        digits = [re.sub(r"\D", "", text)[:8] for text in (one, other)]
        return digits[0] == digits[1]
    plain = [" ".join(text.casefold().split()) for text in (one, other)]
    return plain[0] == plain[1] or (len(plain[1]) >= 32 and plain[0].startswith(plain[1]))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def keywords(raw: dict[str, Any], schema: MetadataSchema) -> list[str]:
    """Return the embedded keywords, each once, in their order."""
    found: dict[str, None] = {}
    for key in schema.keywords:
        value = raw.get(key)
        words = value if isinstance(value, list) else re.split(r"[;,]", str(value)) if value else []
        for word in words:
            found.setdefault(str(word).strip())
    return [word for word in found if word]


# --------------------------------------------------------------------------------------------------- dates


def _moment(text: str, raw: dict[str, Any]) -> tuple[datetime | None, bool]:
    """Read a date of Exif, IPTC or XMP; return it aware, and whether its time zone is known.

    A date of Exif has no zone of its own: it is in ``OffsetTimeOriginal`` (Exif 2.31), else the camera's GPS
    tells UTC, and the difference is the zone. One of IIM has its time, with the zone, in a field of its own.
    """
    text = re.sub(r"^(\d{4})[:-]?(\d{2})[:-]?(\d{2})", r"\1-\2-\3", text.strip())
    time = raw.get("Iptc.Application2.TimeCreated")
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) and isinstance(time, str):
        match = re.match(r"(\d{2}):?(\d{2}):?(\d{2})([+-]\d{2}):?(\d{2})", time)
        text += "T{}:{}:{}{}:{}".format(*match.groups()) if match else ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None, False
    if moment.tzinfo is None:
        zone = _zone(moment, raw)
        if zone is None:
            return moment.replace(tzinfo=UTC), False
        moment = moment.replace(tzinfo=zone)
    return moment, True


def _zone(local: datetime, raw: dict[str, Any]) -> timezone | None:
    """Return the time zone of a camera's clock."""
    offset = str(raw.get("Exif.Photo.OffsetTimeOriginal") or raw.get("Exif.Photo.OffsetTime") or "")
    if match := re.fullmatch(r"([+-])(\d\d):(\d\d)", offset):
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    day, time = (str(raw.get(f"Exif.GPSInfo.GPS{name}Stamp") or "") for name in ("Date", "Time"))
    parts = [int(top) // max(int(bottom), 1) for top, bottom in re.findall(r"(\d+)/(\d+)", time)]
    if re.fullmatch(r"\d{4}:\d{2}:\d{2}", day) and len(parts) == 3:
        try:
            there = datetime(*(int(part) for part in day.split(":")), *parts)  # type: ignore[arg-type]
        except ValueError:
            return None
        quarters = round((local - there).total_seconds() / 900)  # zones differ by quarters of an hour
        if abs(quarters) <= 14 * 4 and abs((local - there).total_seconds() - quarters * 900) <= 120:
            return timezone(timedelta(minutes=15 * quarters))
    return None
