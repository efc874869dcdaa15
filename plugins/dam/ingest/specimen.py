"""A font shown as type founders do: a large pair of letters, the alphabet, and a sentence in several sizes.

Fonts without Latin letters show their own script; fonts of icons show their first signs.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_INK, _SOFT, _PAPER, _RULE = (22, 24, 29), (122, 128, 138), (255, 255, 255), (222, 225, 230)
_MARGIN = 0.055

#: Large pair, alphabet, and a sentence that uses it, by ISO 15924 script; the first one a font can set is shown.
_SAMPLES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "Latn": (
        "Aa",
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789  &?!§@€$£%  ÄÉÑØß"),
        "Sphinx of black quartz, judge my vow",
    ),
    "Cyrl": (
        "Аа",
        ("АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ", "абвгдежзийклмнопрстуфхцчшщъыьэюя", "0123456789"),
        "Съешь же ещё этих мягких французских булок",
    ),
    "Grek": ("Αα", ("ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ", "αβγδεζηθικλμνξοπρστυφχψω"), "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία"),
    "Arab": ("أب", ("ا ب ت ث ج ح خ د ذ ر ز س ش ص", "ض ط ظ ع غ ف ق ك ل م ن ه و ي"), "نص حكيم له سر قاطع وذو شأن عظيم"),
    "Hebr": ("אב", ("אבגדהוזחטיכלמנסעפצקרשת",), "דג סקרן שט בים מאוכזב ולפתע מצא חברה"),
    "Deva": ("अआ", ("अ आ इ ई उ ऊ ए ऐ ओ औ", "क ख ग घ च छ ज झ ट ठ ड ढ त थ द ध न"), "नमस्ते दुनिया, यह एक नमूना है"),
    "Thai": ("กข", ("กขคฆงจฉชซฌญฎฏฐฑฒณดตถทธน", "บปผฝพฟภมยรลวศษสหฬอฮ"), "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า"),
    "Hang": ("가나", ("가나다라마바사아자차카타파하",), "다람쥐 헌 쳇바퀴에 타고파"),
    "Kana": ("あア", ("あいうえおかきくけこさしすせそ", "アイウエオカキクケコサシスセソ"), "いろはにほへとちりぬるを"),
    "Hani": ("永字", ("天地玄黃宇宙洪荒日月盈昃辰宿列張",), "寒來暑往秋收冬藏"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Face:
    """One face to show: its file (TrueType or OpenType, not packed), and what it is called.

    :param characters: the code points it has. :param weights: of its weight axis that are shown, if it has one.
    :param axes: default values of its axes, in order. :param weight_axis: which of them is the weight.
    """

    data: bytes
    index: int
    family: str
    style: str
    characters: frozenset[int]
    weights: tuple[float, ...] = ()
    axes: tuple[float, ...] = ()
    weight_axis: int = 0


def draw(face: Face, width: int, height: int) -> Image.Image:
    """Return a specimen. :raises OSError: FreeType can't open or draw the font. :raises ValueError: likewise."""
    sheet = _Sheet(face, width, min(height, width * 3 // 4))
    scripts = [script for script in _SAMPLES if sheet.can_set(_SAMPLES[script])]
    if scripts and not _of_signs(face):
        large, alphabet, sentence = _SAMPLES[scripts[0]]
        sheet.head(large, alphabet)
        sheet.rule()
        sheet.weights(large)
        sheet.waterfall([sentence, *(_SAMPLES[script][2] for script in scripts[1:4])])
    else:
        sheet.signs()
    return sheet.cut()


def _of_signs(face: Face) -> bool:
    """Tell whether a face is one of icons: most of its characters are its own, or it has no space between words."""
    own = sum(0xE000 <= code < 0xF900 or code >= 0xF0000 for code in face.characters)
    return 2 * own > len(face.characters) or 0x20 not in face.characters


class _Sheet:
    """A sheet of paper, filled from the top."""

    def __init__(self, face: Face, width: int, height: int) -> None:
        self.face = face
        self.width, self.height = width, height
        self.margin = round(width * _MARGIN)
        self.image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._fonts: dict[tuple[int, float], Any] = {}
        self._at = self.margin

    def can_set(self, sample: tuple[str, tuple[str, ...], str]) -> bool:
        """Tell whether the face has nearly all letters of a sample."""
        large, alphabet, sentence = sample
        wanted = {ord(letter) for letter in "".join((large, sentence, alphabet[0])) if letter.isalpha()}
        return len(wanted & self.face.characters) >= 0.95 * len(wanted)

    def font(self, size: float, weight: float = 0) -> Any:
        """Return the face in a size in pixels."""
        key = (max(6, round(size)), weight)
        if key not in self._fonts:
            opened = ImageFont.truetype(io.BytesIO(self.face.data), key[0], index=self.face.index)
            if weight:
                axes = list(self.face.axes)
                axes[self.face.weight_axis] = weight
                opened.set_variation_by_axes(axes)
            self._fonts[key] = opened
        return self._fonts[key]

    def cut(self) -> Image.Image:
        """Return the sheet as long as it is filled."""
        return self.image.crop((0, 0, self.width, min(self.height, self._at + self.margin // 2)))

    def known(self, text: str) -> str:
        """Return ``text`` without the letters that the face lacks."""
        return "".join(letter for letter in text if letter == " " or ord(letter) in self.face.characters).strip()

    def fitted(self, text: str, width: float, height: float, largest: float) -> Any:
        """Return the face in the largest size in which ``text`` fits a box."""
        probe = self.font(100)
        left, top, right, bottom = probe.getbbox(text)
        across, down = max(right - left, 1), max(bottom - top, 1)
        return self.font(min(largest, 100 * width / across, 100 * height / down))

    def put(self, x: float, y: float, text: str, font: Any, ink: tuple[int, int, int] = _INK) -> tuple[float, float]:
        """Write ``text`` with the upper left of its ink at a place; return the ink's width and height."""
        left, top, right, bottom = font.getbbox(text)
        self._draw.text((x - left, y - top), text, font=font, fill=ink, embedded_color=True)
        return right - left, bottom - top

    def head(self, large: str, alphabet: Iterable[str]) -> None:
        """Write the large pair at the left; name, style and alphabet beside it."""
        column = round(self.width * 0.40)
        tall = self.height * 0.36
        font = self.fitted(large, column - self.margin * 1.6, tall, self.width * 0.3)
        _, used = self.put(self.margin, self._at, large, font)
        x, y = float(column), float(self._at)
        room = self.width - self.margin - x
        y += self.title(x, y, room)
        for line in alphabet:
            text = self.known(line)
            if not text:
                continue
            font = self.fitted(text, room, self.height * 0.05, self.width * 0.032)
            y += self.put(x, y, text, font)[1] + self.height * 0.026
        self._at = round(max(self._at + used, y) + self.height * 0.03)

    def title(self, x: float, y: float, room: float) -> float:
        """Write family and style, in the face itself where it can; return the height used."""
        start = y
        for text, size, ink in ((self.face.family, 0.042, _INK), (self.face.style, 0.024, _SOFT)):
            own = self.known(text) == text.strip() and not _of_signs(self.face)
            if not text.strip() or not (own or text.isascii()):
                continue
            if own:
                font = self.fitted(text, room, self.height * 0.1, self.width * size)
            else:
                font = ImageFont.load_default(self.width * size * 0.8)
            y += self.put(x, y, text, font, ink)[1] + self.height * 0.026
        return y - start + self.height * 0.014

    def rule(self) -> None:
        """Draw a thin line across."""
        self._draw.line((self.margin, self._at, self.width - self.margin, self._at), fill=_RULE, width=2)
        self._at += round(self.height * 0.04)

    def waterfall(self, sentences: list[str]) -> None:
        """Write sentences from large to small until the sheet is full."""
        room = self.width - 2 * self.margin
        sizes = (0.058, 0.042, 0.030, 0.022, 0.016)
        for number, size in enumerate(sizes):
            text = self.known(sentences[number % len(sentences)])
            font = self.fitted(text, room, self.height * 0.2, self.width * size)
            _, top, _, bottom = font.getbbox(text)
            if self._at + bottom - top > self.height - self.margin:
                return
            self.put(self.margin, self._at, text, font)
            self._at += round(bottom - top + self.height * 0.032)

    def weights(self, text: str) -> None:
        """Write the pair in every weight of a variable face, side by side."""
        if not self.face.weights:
            return
        step = (self.width - 2 * self.margin) / len(self.face.weights)
        tallest = 0.0
        for number, weight in enumerate(self.face.weights):
            x = self.margin + number * step
            font = self.font(self.width * 0.045, weight)
            tallest = max(tallest, self.put(x, self._at, text, font)[1])
            self._draw.text(
                (x, self._at + self.height * 0.085), f"{weight:g}", font=ImageFont.load_default(self.width * 0.011),
                fill=_SOFT,
            )  # fmt: skip
        self._at += round(max(tallest, self.height * 0.1) + self.height * 0.05)

    def signs(self) -> None:
        """Show the first signs of a face that sets no text, in rows."""
        self._at += round(self.title(self.margin, self._at, self.width - 2 * self.margin))
        self.rule()
        # its own signs first: letters come along in many fonts of icons
        codes = sorted(self.face.characters, key=lambda code: (not 0xE000 <= code < 0xF900, code))
        shown = [code for code in codes if code > 0x20 and not 0xE0000 <= code < 0xE01F0]
        columns = 12 if len(shown) > 20 else 6
        cell = (self.width - 2 * self.margin) / columns
        rows = int((self.height - self.margin - self._at) // cell)
        font = self.font(cell * 0.55)
        for number, code in enumerate(shown[: columns * rows]):
            x = self.margin + number % columns * cell
            y = self._at + number // columns * cell
            left, top, right, bottom = font.getbbox(chr(code))
            across, down = max(right - left, 1), max(bottom - top, 1)
            fit = min(1.0, cell * 0.8 / across, cell * 0.8 / down)
            own = font if fit == 1.0 else self.font(cell * 0.55 * fit)
            left, top, right, bottom = own.getbbox(chr(code))
            self.put(x + (cell - (right - left)) / 2, y + (cell - (bottom - top)) / 2, chr(code), own)
        self._at += round(-(-min(len(shown), columns * rows) // columns) * cell)
