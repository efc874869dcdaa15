"""PostScript: EPS with and without a preview, printer files, and Illustrator files from before it wrote PDF.

A PostScript file is a program, and only an interpreter can tell what it draws. Where Ghostscript is on the machine
it draws the file in its safe mode, which proves it. Elsewhere people see the picture that the file carries, by
Adobe's EPSF 3.0 and DSC 3.0 specifications, and the receipt says that the drawing itself was not proved. A file
that carries none waits for a person.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyvips

from dam.errors import BadInput
from dam.ingest import embedded, inner, proofs, xmp
from dam.ingest.damage import AGAIN, refused, tidy
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable

#: Longest part of a file that is searched for comments and previews, from its start.
_REACH = 64 << 20
#: Comments that are kept, from the header of the document (DSC 3.0, 5.2).
_KEPT = ("Title", "Creator", "For", "CreationDate", "Copyright", "Routing", "Version", "LanguageLevel")
_COMMENT = re.compile(rb"^%%(\w+):[ \t]*([^\r\n]*)", re.MULTILINE)
_CUT = "The drawing is cut off{}."
#: Ghostscript may take so many seconds; then the file's own preview must do.
_PATIENCE = 45.0


def inspect(job: Job, found: Format) -> Inspection:
    """Read a PostScript file's comments, and draw it or show the preview inside.

    :raises Unusable: it is cut off, or its parts contradict each other.
    :raises CantCheck: it carries no preview and there is no Ghostscript here.
    """
    with job.path.open("rb") as stream:
        data = stream.read(_REACH)
    size = job.path.stat().st_size
    told = Inspection()
    with refused("The drawing"):
        program, tiff = _parts(data, size)
        comments = _comments(program)
        if len(program) < _REACH:
            _whole(program)
        told.embedded = embedded.clean(comments) | xmp.read(xmp.find(data) or b"") | embedded.read(job.path)
        told.technical = _technical(program, comments)
        picture = _by_ghostscript(job, program, comments, told)
        if picture is None:
            picture = _carried(program, tiff, job, told)
    if picture is None:
        raise CantCheck(
            "The drawing has no preview inside, and there is no PostScript interpreter here to draw it.",
            remedy="It was kept; a person must look at it.",
        )
    proofs.of_picture(job, picture, told)
    told.technical.pop("transparent", None)  # a preview's ground says nothing of the drawing's
    return told


# ------------------------------------------------------------------------------------------------- structure


def _parts(data: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the program and the TIFF preview of a DOS EPS file (EPSF 3.0, 5.2), or the whole as program."""
    if not data.startswith(b"\xc5\xd0\xd3\xc6"):
        return data, b""
    if len(data) < 30:
        raise Unusable(_CUT.format(" in its first line"), remedy=AGAIN)
    numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(4, 28, 4)]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if length and start + length > size:
            share = 100 * size // (start + length)
            raise Unusable(_CUT.format(f" after {share} %"), remedy=AGAIN)
    start, length, _, _, tiff, tiff_length = numbers
    return data[start : start + length], data[tiff : tiff + tiff_length]


def _comments(program: bytes) -> dict[str, str]:
    """Return the header comments as ``PostScript.Title`` …; those that say ``(atend)`` from the end of the file."""
    head, tail = program[:65536], program[-65536:]
    ended = head.find(b"%%EndComments")
    told: dict[str, str] = {}
    for part in (head[:ended] if ended > 0 else head, tail):
        for match in _COMMENT.finditer(part):
            key, value = match[1].decode("latin-1"), _text(match[2])
            if value and value != "(atend)" and (key in _KEPT or key in _BOXES or key in ("Pages", "DocumentFonts")):
                told.setdefault(f"PostScript.{key}", value)
    return told


_BOXES = ("HiResBoundingBox", "BoundingBox")


def _text(value: bytes) -> str:
    """Return a comment's text: without parentheses, in UTF-8 or else Latin-1."""
    value = value.strip()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    if text.startswith("(") and text.endswith(")"):
        text = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8) & 255), text[1:-1])
        text = re.sub(r"\\(.)", r"\1", text)
    return "" if text.strip() == "atend" else text.strip()


#: What a whole program ends with where it lacks the end mark.
_ENDS = (b"showpage", b"%%Trailer", b"restore", b"end", b"cleartomark", b"pop", b"%%EOF", b"\x04")


def _whole(program: bytes) -> None:
    """Find a program that is cut off: sections that begin and never end, or no end at all (DSC 3.0, 5)."""
    for kind in (b"Binary", b"Data"):
        for match in re.finditer(rb"%%Begin" + kind + rb":[ \t]*(\d+)([^\r\n]*)\r?\n?", program):
            if b"Lines" not in match[2] and match.end() + int(match[1]) > len(program):
                raise Unusable(_CUT.format(" within its picture data"), remedy=AGAIN)
    if not program.startswith(b"%!PS-Adobe-"):
        return
    for part in ("Preview", "Photoshop"):
        begun = re.search(rf"^%{{1,2}}Begin{part}\b".encode(), program, re.MULTILINE)
        if begun and not re.search(rf"^%{{1,2}}End{part}\b".encode(), program, re.MULTILINE):
            raise Unusable(_CUT.format(f" within its {part.lower()}"), remedy=AGAIN)
    tail = program[-4096:].rstrip(b"\0\r\n\t \x1a")
    if b"%%EOF" not in tail and not tail.endswith(_ENDS):
        raise Unusable(_CUT.format(": its end mark is missing"), remedy=AGAIN)


_FONTS = re.compile(
    rb"^%%Document(?:Needed|Supplied)?(Fonts|Resources):([^\r\n]*(?:[\r\n]+%%\+[^\r\n]*)*)", re.MULTILINE
)
_FONTS_INSIDE = re.compile(rb"^%%Begin(?:Font:|Resource: *font) *(\S+)", re.MULTILINE)


def _technical(program: bytes, comments: dict[str, str]) -> dict[str, Any]:
    box = _box(comments)
    inside = {name.decode("latin-1") for name in _FONTS_INSIDE.findall(program)}
    known: dict[str, Any] = {
        "pages": int(comments["PostScript.Pages"].split()[0])
        if re.match(r"\d{1,6}\b", comments.get("PostScript.Pages", ""))
        else 1,
        "page_mm": [round((box[2] - box[0]) * 25.4 / 72, 1), round((box[3] - box[1]) * 25.4 / 72, 1)] if box else None,
        "fonts": [{"name": name, "embedded": name in inside} for name in sorted(_fonts(program) | inside)],
        "encapsulated": b"EPSF" in program[:64],
    }
    return {name: value for name, value in known.items() if value is not None}


def _fonts(program: bytes) -> set[str]:
    """Return the fonts that the header names: ``%%DocumentFonts: A B``, or ``font A`` among resources."""
    names: set[str] = set()
    for kind, listed in _FONTS.findall(program[:65536]):
        for line in re.split(rb"[\r\n]+%%\+", listed):
            words = line.decode("latin-1").split()
            if kind == b"Fonts":
                names |= set(words)
            elif words[:1] == ["font"]:
                names |= set(words[1:])
    return names - {"(atend)"}


def _box(comments: dict[str, str]) -> tuple[float, float, float, float] | None:
    """Return the bounding box in points."""
    for name in _BOXES:
        try:
            left, bottom, right, top = (float(side) for side in comments.get(f"PostScript.{name}", "").split()[:4])
        except ValueError:
            continue
        if left < right < left + 1e6 and bottom < top < bottom + 1e6:
            return left, bottom, right, top
    return None


# ------------------------------------------------------------------------------------------------- drawing


#: Illustrator's own old files count on procedures that are not inside them.
_LACKING = re.compile(rb"^%%Include(ProcSet|Resource: *procset)", re.MULTILINE)


def _by_ghostscript(job: Job, program: bytes, comments: dict[str, str], told: Inspection) -> Any:
    """Draw it with Ghostscript; None where there is none, or where the file's own preview must do."""
    command, box = shutil.which("gs"), _box(comments)
    if command is None or len(program) >= _REACH or _LACKING.search(program):
        return None
    across, down = proofs.box(job)
    points = max(box[2] - box[0], box[3] - box[1], 1.0) if box else 842.0
    source, target = job.scratch / "drawing.eps", job.scratch / "drawing.png"
    source.write_bytes(program)
    try:
        done = subprocess.run(
            [command, "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dEPSCrop", "-dLastPage=1", "-dTextAlphaBits=4",
             "-dGraphicsAlphaBits=4", "-sDEVICE=png16m", f"-r{72 * min(across, down) / points:.4f}",
             f"-sOutputFile={target}", str(source)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False, cwd=job.scratch,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError):
        told.notes.append("Ghostscript did not finish drawing it; its own preview is shown.")
        return None
    if done.returncode:
        complaint = tidy((done.stdout + done.stderr).decode("latin-1"))
        raise Unusable(f"The drawing's program ends with an error. ({complaint})", remedy=AGAIN)
    return pyvips.Image.new_from_file(str(target)).copy_memory() if target.exists() else None


def _carried(program: bytes, tiff: bytes, job: Job, told: Inspection) -> Any:
    """Return the best picture that the file carries, or None: its own pixels, or else the largest preview."""
    most = float(job.limits["max_megapixels"])
    for picture in _photoshop_pixels(program, most):
        told.width, told.height = picture.width, picture.height
        return picture
    previews = [
        *_tiff(tiff, most),
        *_epsi(program, most),
        *_xmp_thumbnail(program, most),
        *_photoshop_thumbnail(program, most),
        *_illustrator_thumbnail(program),
    ]
    if not previews:
        return None
    best = max(previews, key=lambda preview: preview.width * preview.height)
    told.notes.append(
        f"Shown is the preview inside ({best.width} × {best.height} pixels): the drawing itself was not proved, as"
        " there is no PostScript interpreter here."
    )
    return best


def _tiff(tiff: bytes, most: float) -> Iterator[Any]:
    if not tiff:
        return
    try:
        yield inner.picture(tiff, most)
    except BadInput as error:
        raise Unusable(f"The preview inside is damaged. ({tidy(error)})", remedy=AGAIN) from error


def _epsi(program: bytes, most: float) -> Iterator[Any]:
    """EPSI's preview: hexadecimal in comments, 0 white, rows from the top, each filled up to whole bytes."""
    match = re.search(
        rb"^%%BeginPreview:\s*(\d+)\s+(\d+)\s+(\d+)[^\r\n]*(.*?)^%%EndPreview", program, re.MULTILINE | re.DOTALL
    )
    if not match:
        return
    width, height, depth = (int(match[group]) for group in (1, 2, 3))
    if depth not in (1, 2, 4, 8) or not 0 < width * height <= most * 1e6:
        return
    packed = np.frombuffer(_hexadecimal(match[4]), dtype=np.uint8)
    row = (width * depth + 7) // 8
    if len(packed) < row * height:
        raise Unusable("The preview inside is cut off.", remedy=AGAIN)
    bits = np.unpackbits(packed[: row * height].reshape(height, row), axis=1)[:, : width * depth]
    values = bits.reshape(height, width, depth) @ (1 << np.arange(depth)[::-1])
    yield inner.from_array((255 - values * 255 // (2**depth - 1)).astype(np.uint8)[:, :, None])


def _hexadecimal(text: bytes) -> bytes:
    digits = re.sub(rb"[^0-9a-fA-F]", b"", text)
    return binascii.unhexlify(digits[: len(digits) // 2 * 2])


def _xmp_thumbnail(program: bytes, most: float) -> Iterator[Any]:
    """Illustrator's and InDesign's thumbnail: a JPEG in the XMP packet."""
    for match in re.finditer(rb"<xmpGImg:image>([^<]+)</xmpGImg:image>", program):
        try:
            yield inner.picture(base64.b64decode(re.sub(rb"&#x?[0-9A-Fa-f]+;|\s", b"", match[1])), most)
        except (BadInput, binascii.Error):
            continue


_THUMBNAIL, _THUMBNAIL_HEAD = 1036, 28  # Photoshop's image resource; bytes before its JPEG


def _photoshop_thumbnail(program: bytes, most: float) -> Iterator[Any]:
    """Photoshop's thumbnail, among its image resources in hexadecimal."""
    match = re.search(rb"%BeginPhotoshop:[^\r\n]*(.*?)%EndPhotoshop", program, re.DOTALL)
    resources = _hexadecimal(match[1]) if match else b""
    at = 0
    while resources[at : at + 4] == b"8BIM":
        number = int.from_bytes(resources[at + 4 : at + 6], "big")
        at += 6 + (resources[at + 6] + 2) // 2 * 2
        length = int.from_bytes(resources[at : at + 4], "big")
        if number == _THUMBNAIL:
            try:
                yield inner.picture(resources[at + 4 + _THUMBNAIL_HEAD : at + 4 + length], most)
            except BadInput:
                return
        at += 4 + (length + 1) // 2 * 2


#: Channels by the mode of ``%ImageData``: greyscale, RGB, CMYK.
_MODES = {1: (1, "b-w"), 3: (3, "srgb"), 4: (4, "cmyk")}
_IMAGE_DATA = re.compile(
    rb"^%ImageData:\s*(\d+)\s+(\d+)\s+8\s+([134])\s+(\d)\s+(\d+)\s+([12])\s+\"([^\"]+)\"", re.MULTILINE
)


def _photoshop_pixels(program: bytes, most: float) -> Iterator[Any]:
    """The pixels of a picture that is EPS in form, as Photoshop writes them plainly, binary or in hexadecimal.

    ``%ImageData: columns rows depth mode padding block coding "start"``: the block is 1 where a pixel's channels
    stand together, otherwise a row's. Photoshop's JPEG codings are left to the preview.
    """
    match = _IMAGE_DATA.search(program)
    if not match:
        return
    width, height, mode, padding, block = (int(match[group]) for group in range(1, 6))
    bands, meaning = _MODES[mode]
    start = re.compile(rb"^" + re.escape(match[7]) + rb"[ \t]*(\r\n|\r|\n)", re.MULTILINE).search(program, match.end())
    if not start or not 0 < width * height <= most * 1e6:
        return
    data = program[start.end() :]
    length = width * height * (bands + padding)
    # some programs say binary and write hexadecimal
    if not re.search(rb"[^0-9a-fA-F\s]", data[:256]):
        data = _hexadecimal(data[: 3 * length])
    if len(data) < length:
        raise Unusable(_CUT.format(f" after {100 * len(data) // length} % of its picture data"), remedy=AGAIN)
    pixels = np.frombuffer(data, dtype=np.uint8, count=length)
    if block == 1:
        pixels = pixels.reshape(height, width, bands + padding)
    else:
        pixels = pixels.reshape(height, bands + padding, width).swapaxes(1, 2)
    yield inner.from_array(pixels[:, :, :bands]).copy(interpretation=meaning)


_PALETTE, _REPEAT = 768, 0xFD


def _illustrator_thumbnail(program: bytes) -> Iterator[Any]:
    """Illustrator's thumbnail since version 7: 256 colours, then runs of their numbers, in hexadecimal comments."""
    match = re.search(rb"%AI\d+_Thumbnail:\s*(\d+)\s+(\d+)\s+8\s(.*?)%%EndData", program, re.DOTALL)
    if not match:
        return
    width, height = int(match[1]), int(match[2])
    body = match[3].partition(b"Hex Bytes")[2] or match[3]
    data = _hexadecimal(body)
    runs = data[_PALETTE:]
    packed = runs[3:] if runs.startswith(b"RLE") else None
    if not 0 < width * height <= 1_000_000 or len(data) < _PALETTE:
        return
    numbers = np.frombuffer(_unrolled(packed, width * height) if packed is not None else runs, dtype=np.uint8)
    if len(numbers) < width * height:
        raise Unusable("The thumbnail inside is cut off.", remedy=AGAIN)
    palette = np.frombuffer(data[:_PALETTE], dtype=np.uint8).reshape(256, 3)
    yield inner.from_array(palette[numbers[: width * height]].reshape(height, width, 3))


def _unrolled(packed: bytes, most: int) -> bytes:
    """Unpack runs: 0xFD, count, value; 0xFD twice is one 0xFD."""
    made, at = bytearray(), 0
    while at < len(packed) and len(made) < most:
        value = packed[at]
        if value != _REPEAT:
            made.append(value)
            at += 1
        elif packed[at + 1 : at + 2] == b"\xfd":
            made.append(_REPEAT)
            at += 2
        else:
            made += packed[at + 2 : at + 3] * (packed[at + 1] if at + 1 < len(packed) else 0)
            at += 3
    return bytes(made)
