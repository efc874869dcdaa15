"""What lies in a drop beside its files: marker, card, checksums, sidecars, and what systems leave behind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

#: Says that a drop is complete.
MARKER = "_COMPLETE"
#: Says who sent a drop, for which campaign, under which rights.
CARD = "batch.yaml"
#: The card of a drop that we are still filling ourselves: an upload, or ``dam ingest``.
BEGUN = ".card"
#: Makes a folder a BagIt bag (RFC 8493).
BAG = "bagit.txt"
#: Endings of files that other programs are still writing.
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".!ut")
#: Endings of sidecars: they are about the file of the same name beside them.
SIDECARS = (".xmp", ".thm")
_ALGORITHM = "(md5|sha1|sha224|sha256|sha384|sha512)"
_SUMS = re.compile(
    rf"(^|/)(manifest-{_ALGORITHM}\.txt|{_ALGORITHM}(sums?)?(\.txt)?)$|\.{_ALGORITHM}(sums?)?(\.txt)?$", re.IGNORECASE
)
_TAGS = re.compile(r"(^|/)(bagit\.txt|bag-info\.txt|fetch\.txt|(tag)?manifest-[a-z0-9]+\.txt)$")


def basename(path: str) -> str:
    """Return the last part of a path."""
    return path.rsplit("/", 1)[-1]


def is_sums(path: str) -> bool:
    """Return whether a file holds checksums of others, going by its name."""
    return bool(_SUMS.search(path))


def is_paperwork(path: str) -> bool:
    """Return whether a file is about the batch rather than of it."""
    return basename(path) in (MARKER, CARD, BEGUN) or is_sums(path) or bool(_TAGS.search(path))


def is_litter(path: str, patterns: Iterable[str]) -> bool:
    """Return whether a system or a camera left a file there for itself.

    :param patterns: of ``limits.yaml``; held against every part of the path, upper and lower case alike.
    """
    parts = path.lower().split("/")
    return any(fnmatchcase(part, pattern.lower()) for pattern in patterns for part in parts)


def sidecars(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the sidecars of each file that has some.

    ``IMG_1.CR2.xmp`` is about ``IMG_1.CR2``. ``IMG_1.xmp`` is about the file ``IMG_1`` with another ending; of
    several it is the camera raw, because the others hold their metadata themselves. A sidecar whose file is not
    there is none: it is a file like any other.
    """
    from dam.ingest.formats.known import RAW_EXTENSIONS  # whoever only looks for drops can do without

    whole: dict[str, str] = {}
    by_stem: dict[str, list[str]] = {}
    asides = []
    for path in paths:
        if path.lower().endswith(SIDECARS):
            asides.append(path)
        else:
            whole[path.lower()] = path
            by_stem.setdefault(path.rpartition(".")[0].lower(), []).append(path)
    found: dict[str, list[str]] = {}
    for aside in asides:
        stem = aside.rpartition(".")[0].lower()
        alike = by_stem.get(stem, [])
        raws = [path for path in alike if path.rpartition(".")[2].lower() in RAW_EXTENSIONS]
        for owner in [whole[stem]] if stem in whole else raws or alike:
            found.setdefault(owner, []).append(aside)
    return found
