"""The fonts that text is set in where a person is to read it: in signed records and over pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

#: Where Debian and its kin keep a family with most of Europe's letters.
DEJAVU = Path("/usr/share/fonts/truetype/dejavu")


class Family(NamedTuple):
    """A family's name, and its files."""

    name: str
    text: Path
    bold: Path
    mono: Path


@cache
def family() -> Family:
    """Return DejaVu where the system has it, else the Western letters that come with ReportLab."""
    found = Family(
        "DejaVu Sans", DEJAVU / "DejaVuSans.ttf", DEJAVU / "DejaVuSans-Bold.ttf", DEJAVU / "DejaVuSansMono.ttf"
    )
    if all(path.is_file() for path in found[1:]):
        return found
    import reportlab

    own = Path(reportlab.__file__).parent / "fonts"
    return Family("Bitstream Vera", own / "Vera.ttf", own / "VeraBd.ttf", own / "Vera.ttf")
