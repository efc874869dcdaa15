"""XMP packets (ISO 16684-1) that stand in files whose metadata exiv2 can't reach: PDF, SVG, models, office files.

They are decoded by exiv2 all the same, so that a key is called the same wherever it was found.
"""

from __future__ import annotations

import re
from typing import Any

import pyexiv2

from dam.ingest import embedded

#: A longer packet is no metadata of a person's; thumbnails in it are small.
LONGEST = 16_000_000

_ENTITIES = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_META = re.compile(rb"<(\w+:)?xmpmeta\b.*</(\w+:)?xmpmeta\s*>", re.DOTALL)
_RDF = re.compile(rb"<(\w+:)?RDF\b.*</(\w+:)?RDF\s*>", re.DOTALL)
_BOMS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def read(packet: bytes) -> dict[str, Any]:
    """Return what a packet says by exiv2 key (``Xmp.dc.title``), as :func:`dam.ingest.embedded.read` does.

    :param packet: an XMP packet, with or without its wrapper. :returns: empty when it can't be read, or when it
        declares entities, which no packet needs.
    """
    body = _body(packet[:LONGEST])
    if body is None:
        return {}
    try:
        # exiv2 knows a packet by its wrapper
        with pyexiv2.ImageData(b'<?xpacket begin="" id=""?>' + body + b'<?xpacket end="r"?>') as opened:
            return embedded.clean(opened.read_xmp())
    except (RuntimeError, UnicodeDecodeError):
        return {}


def find(data: bytes) -> bytes | None:
    """Return the first XMP packet in a file's bytes."""
    start = data.find(b"<?xpacket begin=")
    end = data.find(b"<?xpacket end=", start)
    return data[start : end + 19] if 0 <= start < end else None


def _body(packet: bytes) -> bytes | None:
    """Return the part that exiv2 reads, in UTF-8; None where there is none, or none to be trusted."""
    for mark, encoding in _BOMS:
        if packet.startswith(mark):
            packet = packet[2:].decode(encoding, "replace").encode()
    if _ENTITIES.search(packet):
        return None
    if found := _META.search(packet):
        return found[0]
    if found := _RDF.search(packet):
        return b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + found[0] + b"</x:xmpmeta>"
    return None
