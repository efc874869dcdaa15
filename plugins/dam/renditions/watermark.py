"""A visible mark over the whole of a picture: who looks at it, and when. It is in the pixels, not beside them."""

from __future__ import annotations

import io
import math

from PIL import Image, ImageDraw, ImageFont

from dam import fonts

#: How much the letters and their edge cover: 255 hides what is below.
LETTERS, EDGE = 110, 75
QUALITY = 82
ANGLE = 27  # degrees


def burn(data: bytes, text: str) -> bytes:
    """Return a picture with ``text`` slanting over all of it, again and again, as a JPEG without any metadata.

    White letters with a dark edge show on light and on dark. Between two lines there are some five times their
    height, so that no part worth taking is free of it.
    """
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    size = max(10, round(max(picture.size) / 62))
    for colour, strength, edge in (("black", EDGE, max(1, size // 10)), ("white", LETTERS, 0)):
        picture.paste(colour, mask=_lines(text, picture.size, size, strength, edge))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _lines(text: str, room: tuple[int, int], size: int, strength: int, edge: int) -> Image.Image:
    """Return a mask with the text over all of it, each line shifted against the one above."""
    side = math.ceil(math.hypot(*room))
    font = ImageFont.truetype(str(fonts.family().bold), size)
    line = f"{text}      "
    once = Image.new("L", (math.ceil(font.getlength(line)), size * 3 // 2))
    ImageDraw.Draw(once).text((0, 0), line, font=font, fill=strength, stroke_width=edge)
    mask = Image.new("L", (side, side))
    for row, y in enumerate(range(0, side, size * 6)):
        for x in range(-(row * once.width * 2 // 5) % once.width - once.width, side, once.width):
            mask.paste(once, (x, y))
    turned = mask.rotate(ANGLE, Image.Resampling.BILINEAR)
    left, top = (side - room[0]) // 2, (side - room[1]) // 2
    return turned.crop((left, top, left + room[0], top + room[1]))
