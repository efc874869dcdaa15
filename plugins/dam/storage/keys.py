"""Keys: the names of objects in a store."""

from __future__ import annotations

from dam.errors import BadInput


def checked(key: str) -> str:
    """Return ``key`` when it names something below a store's root.

    :raises BadInput: it is empty, absolute, too long, or would leave the root.
    """
    parts = key.split("/")
    try:
        key.encode()
    except UnicodeEncodeError:  # a name in another encoding, as a folder's listing gives it
        raise BadInput(f"the name {key!r} is not written in UTF-8", where="storage", remedy="Rename it.") from None
    bad = (
        not key
        or key.startswith("/")
        or "\\" in key
        or "\x00" in key
        or any(part in ("", ".", "..") for part in parts)
        or any(len(part.encode()) > 255 for part in parts)
        or len(key.encode()) > 1000
    )
    if bad:
        raise BadInput(
            f"{key!r} is no key",
            where="storage",
            remedy="A key is a relative path without empty, '.' or '..' parts, at most 1,000 bytes.",
        )
    return key
