"""The naming convention ``PROJECT_CLIENT_YYYYMMDD_v01.ext``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from dam.errors import BadInput

PATTERN = re.compile(
    r"(?P<project>[A-Z0-9]+(?:-[A-Z0-9]+)*)_(?P<client>[A-Z0-9]+)_(?P<date>\d{8})_v(?P<version>\d{2,4})"
    r"\.(?P<ext>[A-Za-z0-9]{1,8})"
)
#: Names that cameras count up (DCF, JEITA CP-3461, and what phones and drones make of it): they come again and
#: again for other pictures. Either the folder says so, or a usual beginning does.
_COUNTED = re.compile(r"[A-Za-z0-9_]{4}\d{4}")
_CAMERA_FOLDER = re.compile(r"(^|/)(DCIM|\d{3}[A-Z0-9_]{5})/")
_CAMERA_NAME = re.compile(
    r"(IMG_|_MG_|MVI_|DSC_|_DSC|DSCF|DSCN|DSC\d|P\d{3}|GOPR|GX\d\d|DJI_|SAM_|PICT)\d{4}", re.IGNORECASE
)
EXAMPLE = "SPRING27-HERO-A_ACME_20270301_v01.jpg"


@dataclass(frozen=True, slots=True)
class FileName:
    """A conventional file name: ``version`` counts from 1, ``ext`` is without the dot, lower case."""

    project: str
    client: str
    date: date
    version: int
    ext: str

    @property
    def asset(self) -> str:
        """The name of the asset the file is a version of: ``PROJECT_CLIENT``."""
        return f"{self.project}_{self.client}"

    def __str__(self) -> str:
        return f"{self.asset}_{self.date:%Y%m%d}_v{self.version:02d}.{self.ext}"


def parse(filename: str) -> FileName:
    """Return the parts of a conventional file name.

    :param filename: the name alone, without folders.
    :raises BadInput: the name does not follow the convention; says which part.
    """
    match = PATTERN.fullmatch(filename)
    if match is None:
        raise BadInput(
            f"the name does not follow PROJECT_CLIENT_YYYYMMDD_v01.ext: {_first_fault(filename)}",
            where=filename,
            remedy=f"Name it like {EXAMPLE}.",
        )
    try:
        day = date.fromisoformat(match["date"])
    except ValueError:
        raise BadInput(f"{match['date']} is no date", where=filename, remedy="Write YYYYMMDD.") from None
    if int(match["version"]) < 1:
        raise BadInput("versions count from v01", where=filename, remedy=f"Name it like {EXAMPLE}.")
    return FileName(match["project"], match["client"], day, int(match["version"]), match["ext"].lower())


def asset_name(path: str, *, sha256: str, twins: Collection[str] = ()) -> str:
    """Return the name of the asset that a file outside the convention is a version of.

    It is the file's own name, so that the same name again is the next version, with two exceptions: a name that a
    camera counted says nothing, and is told apart by the file's content; of several files with one name in a
    batch, each is named with its folder.

    :param path: of the file in its batch. :param sha256: of its bytes. :param twins: names that the batch has
        several times, in different folders.
    """
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    counted = _COUNTED.fullmatch(stem) and _CAMERA_FOLDER.search(path.upper())
    if counted or _CAMERA_NAME.fullmatch(stem):
        stem = f"{stem}-{sha256[:8]}"
    elif name in twins and folder:
        stem = f"{folder}-{stem}"
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem)
    return safe[-200:] or "UNNAMED"


def _first_fault(filename: str) -> str:
    """Say which part is the first that does not fit."""
    stem, dot, extension = filename.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,8}", extension):
        return "it has no usable extension"
    parts = stem.split("_")
    if len(parts) != 4:
        return f"it has {len(parts)} parts between underscores instead of 4"
    shapes = (
        (r"[A-Z0-9]+(-[A-Z0-9]+)*", "PROJECT is capitals, digits and hyphens"),
        (r"[A-Z0-9]+", "CLIENT is capitals and digits"),
        (r"\d{8}", "the date is YYYYMMDD"),
        (r"v\d{2,4}", "the version is v and at least two digits"),
    )
    for part, (shape, words) in zip(parts, shapes, strict=True):
        if not re.fullmatch(shape, part):
            return f"{part!r} does not fit, {words}"
    return "it does not fit"
