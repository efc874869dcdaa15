"""A sheet of paper with a document's first lines: something to look at, where nothing here can lay it out.

Text is set by Pango with the fonts of the machine; where it has none, by the one that Pillow brings along, which
knows the letters of ASCII alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import pyvips
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INK, _HEAD, _LINE = 60, 25, 224
_LONGEST = 600  # letters of a paragraph
_COLUMNS = 6


def draw(title: str, lines: Sequence[str], width: int, height: int, *, table: bool = False) -> NDArray[np.uint8]:
    """Return a page as height × width × 3; the last lines fade, as there is more.

    :param lines: paragraphs; for a ``table`` rows, their cells set apart by tabs.
    """
    width = width if table else min(width, round(height / 1.4142))
    height = min(height, round(width * (0.75 if table else 1.4142)))
    page = np.full((height, width), 255, dtype=np.float64)
    margin, size = round(width * (0.045 if table else 0.09)), round(width * (0.0135 if table else 0.0185))
    top = margin
    if title:
        top += _put(page, title, margin, top, width - 2 * margin, round(size * 1.7), _HEAD, bold=True) + 2 * size
    rows = _table if table else _text
    full = rows(page, lines, margin, top, size)
    if full:
        reach = round(height * 0.16)
        page[height - reach :] += (255 - page[height - reach :]) * np.linspace(0, 1, reach)[:, None]
    return np.repeat(np.clip(np.round(page), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _text(page: NDArray[np.float64], lines: Sequence[str], margin: int, top: int, size: int) -> bool:
    """Set paragraphs; return whether the page is full."""
    for line in lines:
        if top > page.shape[0] - 2 * size:
            return True
        top += _put(page, line[:_LONGEST], margin, top, page.shape[1] - 2 * margin, size, _INK) + round(size * 0.75)
    return False


def _table(page: NDArray[np.float64], lines: Sequence[str], margin: int, top: int, size: int) -> bool:
    """Set rows on a grid; return whether the page is full."""
    cells = [line.split("\t")[:_COLUMNS] for line in lines]
    columns = max((len(row) for row in cells), default=1)
    across, down = (page.shape[1] - 2 * margin) // columns, round(size * 2.2)
    for row in cells:
        if top + down > page.shape[0]:
            return True
        page[top, margin : margin + across * columns] = _LINE
        for number, cell in enumerate(row):
            left = margin + number * across
            clipped = page[top : top + down, left + size // 2 : left + across - size // 2]
            _put(clipped, cell[:80], 0, round(size * 0.5), 10 * across, size, _INK)
        page[top : top + down, [margin + at * across for at in range(columns + 1)]] = _LINE
        top += down
    page[top - 1, margin : margin + across * columns] = _LINE
    return False


def _put(page: NDArray[np.float64], text: str, left: int, top: int, width: int, size: int, ink: int, *,
         bold: bool = False) -> int:  # fmt: skip
    """Set text into a page, cut at its edges; return the height used."""
    text = "".join(letter for letter in text if letter >= " " and not 0xD800 <= ord(letter) < 0xE000).strip()
    if not text:
        return size
    mask = _by_pango(text, width, size, bold=bold) if _has_fonts() else _by_pillow(text, width, size)
    place = page[top : top + mask.shape[0], left : left + mask.shape[1]]
    place += (ink - place) * mask[: place.shape[0], : place.shape[1]] / 255
    return int(mask.shape[0])


def _by_pango(text: str, width: int, size: int, *, bold: bool = False) -> NDArray[np.uint8]:
    image = pyvips.Image.text(
        escape(text), font=f"sans {'bold ' if bold else ''}{size}", dpi=72, width=max(width, size), wrap="word-char"
    )
    return np.ndarray(buffer=image.write_to_memory(), dtype=np.uint8, shape=(image.height, image.width))


@cache
def _has_fonts() -> bool:
    """Tell whether Pango finds a font: without one every letter is the same box."""
    try:
        narrow, wide = (pyvips.Image.text(letter, font="sans 40", dpi=72) for letter in "iW")
    except pyvips.Error:
        return False
    return bool(narrow.width != wide.width)


def _by_pillow(text: str, width: int, size: int) -> NDArray[np.uint8]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    font: Any = ImageFont.load_default(size)
    lines, line = list[str](), ""
    for word in plain.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    step = round(size * 1.3)
    image = Image.new("L", (width, step * len(lines)))
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((0, number * step), line, font=font, fill=255)
    return np.asarray(image)
