"""Real files of every kind the gate knows, made by the libraries that people make them with.

What has no library here (compound files, Photoshop, camera raw) is written byte by byte after its standard.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# ------------------------------------------------------------------------------------------------ pictures


def photo(size: tuple[int, int] = (64, 48), mode: str = "RGB", seed: int = 1) -> Image.Image:
    """Return a picture of soft shapes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def saved(kind: str, mode: str = "RGB", **options) -> bytes:
    """Return a picture in a format that Pillow writes."""
    import pillow_heif
    import pillow_jxl  # noqa: F401 - makes Pillow know the format

    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    photo(mode=mode).save(out, kind, **options)
    return out.getvalue()


def animation() -> bytes:
    """Return a GIF of three frames."""
    out = io.BytesIO()
    frames = [photo(seed=seed, mode="P") for seed in range(3)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def tiff16(big: bool = False) -> bytes:
    """Return a 16-bit grey TIFF, classic or BigTIFF, as libvips writes it."""
    import pyvips

    image = pyvips.Image.new_from_array(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20)
    return image.cast("ushort").tiffsave_buffer(bigtiff=big)


def photoshop(version: int = 1, bits: int = 8, packed: bool = False, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a flat Photoshop file (1) or large document (2) of :func:`photo`, raw or in PackBits."""
    width, height = size
    head = b"8BPS" + struct.pack(">H6xHIIHH", version, 3, height, width, bits, 3)
    layers = struct.pack(">Q" if version == 2 else ">I", 0)
    planes = np.moveaxis(np.asarray(photo(size)), 2, 0)
    rows = [
        (plane.astype(">u2") * 257 if bits == 16 else plane)[y].tobytes() for plane in planes for y in range(height)
    ]
    if packed:  # every byte a literal: runs of at most 128
        parts = [[row[at : at + 128] for at in range(0, len(row), 128)] for row in rows]
        rows = [b"".join(bytes([len(part) - 1]) + part for part in row) for row in parts]
        counts = struct.pack(f">{len(rows)}{'I' if version == 2 else 'H'}", *map(len, rows))
    data = (b"\x00\x01" + counts if packed else b"\x00\x00") + b"".join(rows)
    return head + struct.pack(">II", 0, 0) + layers + data


def tags(entries: list[tuple[int, int, int, int]], strings: bytes = b"", pixels: bytes = b"") -> bytes:
    """Return a little-endian TIFF of one directory: ``(tag, type, count, value)``; strings stand at byte 512."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = b"II*\x00" + struct.pack("<I", 8) + body + struct.pack("<I", 0)
    return start.ljust(512, b"\x00") + strings.ljust(512, b"\x00") + pixels


def raw(maker: bytes = b"NIKON CORPORATION\x00", dng: bool = False) -> bytes:
    """Return a camera's raw file in form: a TIFF of sensor values behind a colour filter array."""
    entries = [
        (256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 32803),
        (271, 2, len(maker), 512), (273, 4, 1, 1024), (277, 3, 1, 1), (278, 3, 1, 16), (279, 4, 1, 512),
    ]  # fmt: skip
    if dng:
        entries.append((50706, 1, 4, 0x0401))
    return tags(entries, maker, b"\x00\x10" * 256)


# --------------------------------------------------------------------------------------- drawings and pages

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="20" height="9" fill="red"/></svg>'
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 100 100
%%Creator: a test
%%EndComments
newpath 10 10 moveto 90 90 lineto stroke
showpage
%%EOF
"""


def svg(inner: str = "", prolog: str = "", attributes: str = "") -> bytes:
    """Return a drawing with something in it."""
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    start = f'{prolog}<svg {links} width="40" height="30" {attributes}>'
    return f'{start}\n<rect width="9" height="9"/>\n{inner}</svg>'.encode()


def pdf(change: Callable | None = None, **options) -> bytes:
    """Return a PDF of two pages, changed by a function that is given the open PDF."""
    import pikepdf

    made = pikepdf.new()
    for _ in range(2):
        made.add_blank_page(page_size=(200, 100))
    if change:
        change(made)
    out = io.BytesIO()
    made.save(out, **options)
    return out.getvalue()


def illustrator() -> bytes:
    """Return a PDF that carries Illustrator's own data, as Illustrator saves its drawings."""
    import pikepdf

    def change(made) -> None:
        private = pikepdf.Dictionary(AIMetaData=made.make_stream(b"%!PS-Adobe-3.0"), NumBlock=1)
        made.pages[0].obj.PieceInfo = pikepdf.Dictionary(Illustrator=pikepdf.Dictionary(Private=private))

    return pdf(change)


def dos_eps() -> bytes:
    """Return an EPS with a DOS binary header and a TIFF preview."""
    preview = saved("TIFF")
    return struct.pack("<IIIIIIIH", 0xC6D3D0C5, 30, len(EPS), 0, 0, 30 + len(EPS), len(preview), 0xFFFF) + EPS + preview


def zipped(parts: dict[str, bytes | str], stored: tuple[str, ...] = ()) -> bytes:
    """Return a ZIP of parts, in their order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in parts.items():
            opened.writestr(name, data, zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED)
    return out.getvalue()


_MAIN = {
    "docx": ("word/document.xml", "wordprocessingml.document.main"),
    "xlsx": ("xl/workbook.xml", "spreadsheetml.sheet.main"),
    "pptx": ("ppt/presentation.xml", "presentationml.presentation.main"),
}
_MACRO = {
    "docm": ("word/document.xml", "application/vnd.ms-word.document.macroEnabled.main+xml"),
    "xlsm": ("xl/workbook.xml", "application/vnd.ms-excel.sheet.macroEnabled.main+xml"),
    "pptm": ("ppt/presentation.xml", "application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml"),
}
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def office(
    kind: str = "docx", body: str = "", parts: dict[str, bytes | str] | None = None, relations: str = ""
) -> bytes:
    """Return a minimal Office Open XML file; ``relations`` go into those of its main part."""
    if kind in _MAIN:
        name, main = _MAIN[kind][0], f"application/vnd.openxmlformats-officedocument.{_MAIN[kind][1]}+xml"
    else:
        name, main = _MACRO[kind]
    folder, _, file = name.rpartition("/")
    package = "http://schemas.openxmlformats.org/package/2006"
    made = {
        "[Content_Types].xml": f'<?xml version="1.0"?><Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/{name}" ContentType="{main}"/></Types>',
        "_rels/.rels": f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{_RELATIONS}/officeDocument" Target="{name}"/></Relationships>',
        name: f'<?xml version="1.0"?><w:document xmlns:w="{WORD}"><w:body>'
        f"<w:p><w:r><w:t>Hello</w:t></w:r></w:p>{body}</w:body></w:document>",
        f"{folder}/_rels/{file}.rels": f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships">'
        f"{relations}</Relationships>",
    }
    return zipped(made | (parts or {}))


def relation(kind: str, target: str) -> str:
    """Return a relation of an Office Open XML part to something outside."""
    return f'<Relationship Id="x" Type="{_RELATIONS}/{kind}" Target="{target}" TargetMode="External"/>'


def opendocument(kind: str = "text", body: str = "", parts: dict[str, bytes | str] | None = None) -> bytes:
    """Return a minimal OpenDocument file."""
    urn = "urn:oasis:names:tc:opendocument:xmlns"
    made: dict[str, bytes | str] = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f'<?xml version="1.0"?><office:document-content xmlns:office="{urn}:office:1.0" '
        f'xmlns:draw="{urn}:drawing:1.0" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f"<office:body>{body}</office:body></office:document-content>",
        "META-INF/manifest.xml": f'<?xml version="1.0"?><manifest xmlns="{urn}:manifest:1.0"/>',
    }
    return zipped(made | (parts or {}), stored=("mimetype",))


_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound(streams: dict[str, bytes]) -> bytes:
    """Return a compound file (MS-CFB, version 3) of streams by path, ``storage/stream``.

    Streams are padded to 4096 bytes, from which on they lie in sectors of their own.
    """
    names: list[str] = []
    for path in streams:
        steps = path.split("/")
        names += [p for n in range(1, len(steps) + 1) if (p := "/".join(steps[:n])) not in names]
    sectors: list[bytes] = []
    fat: list[int] = []
    starts: dict[str, tuple[int, int]] = {}

    def put(data: bytes) -> int:
        first = len(sectors)
        for at in range(0, len(data), 512):
            sectors.append(data[at : at + 512].ljust(512, b"\x00"))
            fat.append(len(sectors))
        fat[-1] = _END
        return first

    for path, data in streams.items():
        padded = data.ljust(4096, b"\x00")
        starts[path] = (put(padded), len(padded))

    def children(of: str) -> list[int]:
        return [n for n, name in enumerate(names, start=1) if name.rpartition("/")[0] == of]

    def chained(entries: list[int]) -> tuple[int, dict[int, int]]:
        ordered = sorted(entries, key=lambda n: (len(names[n - 1].rpartition("/")[2]), names[n - 1].upper()))
        return (ordered[0] if ordered else _FREE), dict(zip(ordered, [*ordered[1:], _FREE], strict=False))

    first, right = chained(children(""))
    top = {n: chained(children(name)) for n, name in enumerate(names, start=1)}
    for _child, more in top.values():
        right |= more

    def entry(name: str, kind: int, after: int, child: int, start: int, size: int) -> bytes:
        text = name.encode("utf-16-le") + b"\x00\x00"
        return (
            text.ljust(64, b"\x00") + struct.pack("<HBBIII", len(text), kind, 1, _FREE, after, child)
            + bytes(36) + struct.pack("<IQ", start, size)
        )  # fmt: skip

    directory = entry("Root Entry", 5, _FREE, first, _END, 0)
    for n, path in enumerate(names, start=1):
        name = path.rpartition("/")[2]
        if path in starts:
            directory += entry(name, 2, right[n], _FREE, *starts[path])
        else:
            directory += entry(name, 1, right[n], top[n][0], 0, 0)
    directory += bytes(-len(directory) % 512)
    where = put(directory)
    count = (len(fat) + 128) // 127 + 1  # sectors of the table itself included
    tables = range(len(sectors), len(sectors) + count)
    fat += [_FAT] * count
    fat += [_FREE] * (128 * count - len(fat))
    assert len(fat) == 128 * count, "too large for this writer"
    table = struct.pack(f"<{len(fat)}I", *fat)
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<IIIIIIIII", 0, count, where, 0, 4096, _END, 0, _END, 0)
    head += struct.pack("<109I", *[*tables, *[_FREE] * (109 - count)])
    return head + b"".join(sectors) + table


def word97(text: bytes = b"Hello", extra: dict[str, bytes] | None = None) -> bytes:
    """Return something in the form of a Word 97 document: its stream and a table."""
    fib = struct.pack("<HHHHHHI", 0xA5EC, 0xC1, 0, 0x409, 0, 0x0200, 0).ljust(512, b"\x00")
    return compound({"WordDocument": fib + text, "1Table": b"\x00"} | (extra or {}))


VBA = {
    "Macros/PROJECT": b'ID="{0}"\r\nDocument=ThisDocument\r\n',
    "Macros/VBA/_VBA_PROJECT": b"\xcc\x61",
    "Macros/VBA/dir": b"\x01\x00",
}

# --------------------------------------------------------------------------------------------- video, audio


def film(extension: str, codec: str, rate: int = 25, pixels: str = "yuv420p", **options) -> bytes:
    """Return ten frames of film."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=extension, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for number in range(10):
            frame = av.VideoFrame.from_image(photo((320, 240), seed=number))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def sound(extension: str, codec: str, rate: int = 44100) -> bytes:
    """Return a second of a tone."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=extension) as container:
        stream = container.add_stream(codec, rate=rate, options={"strict": "experimental"})
        resampler = av.AudioResampler(format=stream.format or "s16", layout="stereo", rate=rate)
        tone = (np.sin(np.arange(rate) * 2 * np.pi * 440 / rate) * 9000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone], axis=1).reshape(1, -1), "s16", "stereo")
        frame.sample_rate = rate
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
        container.mux(stream.encode())
    return out.getvalue()


def wav() -> bytes:
    """Return a second of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(8000)
        opened.writeframes(bytes(16000))
    return out.getvalue()


# ------------------------------------------------------------------------------------------ models, fonts


def model(kind: str) -> bytes:
    """Return a box."""
    import trimesh

    made = trimesh.creation.box().export(file_type=kind)
    return made.encode() if isinstance(made, str) else made


def gltf() -> bytes:
    """Return a glTF whose buffer is inside it."""
    import base64
    import json

    import trimesh

    files = trimesh.Scene(trimesh.creation.box()).export(file_type="gltf")
    tree = json.loads(files["model.gltf"])
    for buffer in tree["buffers"]:
        buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(files[buffer["uri"]]).decode()
    return json.dumps(tree).encode()


def font(kind: str = "ttf") -> bytes:
    """Return a font of one letter: ``ttf``, ``otf``, ``ttc``, ``woff`` or ``woff2``."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.t2CharStringPen import T2CharStringPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib import TTCollection

    def outline(pen):
        for step, point in (("moveTo", (0, 0)), ("lineTo", (500, 0)), ("lineTo", (500, 700)), ("lineTo", (0, 700))):
            getattr(pen, step)(point)
        pen.closePath()
        return pen

    def build():
        builder = FontBuilder(1000, isTTF=kind != "otf")
        builder.setupGlyphOrder([".notdef", "A"])
        builder.setupCharacterMap({65: "A"})
        if kind == "otf":
            strings = {name: outline(T2CharStringPen(600, None)).getCharString() for name in (".notdef", "A")}
            builder.setupCFF("Test-Regular", {}, strings, {})
        else:
            builder.setupGlyf({name: outline(TTGlyphPen(None)).glyph() for name in (".notdef", "A")})
        builder.setupHorizontalMetrics({".notdef": (600, 0), "A": (600, 0)})
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": "Test", "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        return builder.font

    out = io.BytesIO()
    if kind == "ttc":
        collection = TTCollection()
        collection.fonts = [build(), build()]
        collection.save(out)
    else:
        made = build()
        made.flavor = kind if kind.startswith("woff") else None
        made.save(out)
    return out.getvalue()


def usdz() -> bytes:
    """Return a USDZ in form: a stored ZIP whose first file is a scene."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("scene.usda", USDA)
    return out.getvalue()


USDA = b'#usda 1.0\n(\n    defaultPrim = "Box"\n)\ndef Cube "Box"\n{\n    double size = 2\n}\n'

# ---------------------------------------------------------------------------------------- archives, programs


def tar(files: dict[str, bytes], mode: str = "w", members: list[tarfile.TarInfo] | None = None) -> bytes:
    """Return a tar of files, then of members without data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as opened:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
        for info in members or []:
            opened.addfile(info)
    return out.getvalue()


def windows_program() -> bytes:
    """Return the headers of a program for Windows."""
    stub = b"MZ".ljust(60, b"\x00") + struct.pack("<I", 128) + b"This program cannot be run in DOS mode.\r\n$"
    return stub.ljust(128, b"\x00") + b"PE\x00\x00" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 2) + bytes(512)


TABLE = b"name,kind,price\ncup,red,3\nplate,blue,4\nbowl,green,5\n"
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

#: name → (media type, kind, how its bytes are made). The extension of the name is right.
KINDS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "a.jpg": ("image/jpeg", "image", lambda: saved("JPEG")),
    "progressive.jpg": ("image/jpeg", "image", lambda: saved("JPEG", progressive=True)),
    "cmyk.jpg": ("image/jpeg", "image", lambda: saved("JPEG", mode="CMYK")),
    "a.png": ("image/png", "image", lambda: saved("PNG")),
    "a.gif": ("image/gif", "image", lambda: saved("GIF")),
    "moving.gif": ("image/gif", "image", animation),
    "a.webp": ("image/webp", "image", lambda: saved("WEBP")),
    "a.avif": ("image/avif", "image", lambda: saved("AVIF")),
    "a.heic": ("image/heic", "image", lambda: saved("HEIF")),
    "a.jxl": ("image/jxl", "image", lambda: saved("JXL")),
    "a.tif": ("image/tiff", "image", lambda: saved("TIFF")),
    "cmyk.tif": ("image/tiff", "image", lambda: saved("TIFF", mode="CMYK")),
    "deep.tif": ("image/tiff", "image", tiff16),
    "big.tif": ("image/tiff", "image", lambda: tiff16(big=True)),
    "a.bmp": ("image/bmp", "image", lambda: saved("BMP")),
    "palette.bmp": ("image/bmp", "image", lambda: saved("BMP", mode="P")),
    "a.jp2": ("image/jp2", "image", lambda: saved("JPEG2000")),
    "a.psd": ("image/vnd.adobe.photoshop", "image", photoshop),
    "deep.psd": ("image/vnd.adobe.photoshop", "image", lambda: photoshop(bits=16, packed=True)),
    "a.psb": ("image/vnd.adobe.photoshop", "image", lambda: photoshop(2)),
    "packed.psb": ("image/vnd.adobe.photoshop", "image", lambda: photoshop(2, packed=True)),
    "a.nef": ("image/x-nikon-nef", "image", raw),
    "a.arw": ("image/x-sony-arw", "image", lambda: raw(b"SONY\x00")),
    "a.dng": ("image/x-adobe-dng", "image", lambda: raw(dng=True)),
    "a.cr2": ("image/x-canon-cr2", "image", lambda: b"II*\x00\x10\x00\x00\x00CR\x02\x00" + raw()[12:]),
    "a.raf": ("image/x-fuji-raf", "image", lambda: b"FUJIFILMCCD-RAW 0201FF" + bytes(500)),
    "a.orf": ("image/x-olympus-orf", "image", lambda: b"IIRO\x08\x00\x00\x00" + bytes(500)),
    "a.rw2": ("image/x-panasonic-rw2", "image", lambda: b"IIU\x00\x18\x00\x00\x00" + bytes(500)),
    "a.svg": ("image/svg+xml", "vector", SVG.encode),
    "a.svgz": ("image/svg+xml", "vector", lambda: gzip.compress(SVG.encode())),
    "a.pdf": ("application/pdf", "document", pdf),
    "a.ai": ("application/vnd.adobe.illustrator", "vector", illustrator),
    "old.ai": (
        "application/vnd.adobe.illustrator", "vector",
        lambda: EPS.replace(b"a test", b"Adobe Illustrator(R) 8.0\n%AI5_FileFormat 4.0"),
    ),
    "a.eps": ("application/eps", "vector", lambda: EPS),
    "dos.eps": ("application/eps", "vector", dos_eps),
    "a.ps": ("application/postscript", "document", lambda: b"%!PS-Adobe-3.0\nshowpage\n"),
    "a.mp4": ("video/mp4", "video", lambda: film("mp4", "libx264")),
    "a.m4v": ("video/x-m4v", "video", lambda: film("mp4", "libx264").replace(b"ftypisom", b"ftypM4V ", 1)),
    "a.mov": ("video/quicktime", "video", lambda: film("mov", "libx264")),
    "a.mkv": ("video/matroska", "video", lambda: film("matroska", "libx264")),
    "a.webm": ("video/webm", "video", lambda: film("webm", "libvpx")),
    "a.avi": ("video/x-msvideo", "video", lambda: film("avi", "mpeg4")),
    "a.ts": ("video/mp2t", "video", lambda: film("mpegts", "mpeg2video")),
    "a.mpg": ("video/mpeg", "video", lambda: film("mpeg", "mpeg2video")),
    "a.mxf": ("application/mxf", "video", lambda: film("mxf", "mpeg2video")),
    "a.flv": ("video/x-flv", "video", lambda: film("flv", "flv1")),
    "a.wmv": ("video/x-ms-wmv", "video", lambda: film("asf", "mpeg4")),
    "a.3gp": ("video/3gpp", "video", lambda: film("3gp", "mpeg4")),
    "a.wav": ("audio/wav", "audio", wav),
    "a.aiff": ("audio/aiff", "audio", lambda: sound("aiff", "pcm_s16be")),
    "a.flac": ("audio/flac", "audio", lambda: sound("flac", "flac")),
    "a.mp3": ("audio/mpeg", "audio", lambda: sound("mp3", "libmp3lame")),
    "bare.mp3": ("audio/mpeg", "audio", lambda: _without_id3(sound("mp3", "libmp3lame"))),
    "a.aac": ("audio/aac", "audio", lambda: sound("adts", "aac")),
    "a.ogg": ("audio/ogg", "audio", lambda: sound("ogg", "vorbis")),
    "a.opus": ("audio/ogg", "audio", lambda: sound("ogg", "libopus", 48000)),
    "a.m4a": ("audio/mp4", "audio", lambda: sound("ipod", "aac")),
    "plain.m4a": ("audio/mp4", "audio", lambda: sound("mp4", "aac")),
    "a.mka": ("audio/matroska", "audio", lambda: sound("matroska", "aac")),
    "a.gltf": ("model/gltf+json", "model", gltf),
    "a.glb": ("model/gltf-binary", "model", lambda: model("glb")),
    "a.usdz": ("model/vnd.usdz+zip", "model", usdz),
    "a.usda": ("model/vnd.usda", "model", lambda: USDA),
    "a.usdc": ("model/vnd.usdc", "model", lambda: b"PXR-USDC" + bytes([0, 8, 0, 0, 0, 0, 0, 0]) + bytes(80)),
    "a.obj": ("model/obj", "model", lambda: model("obj")),
    "a.stl": ("model/stl", "model", lambda: model("stl")),
    "text.stl": ("model/stl", "model", lambda: model("stl_ascii")),
    "a.ply": ("model/ply", "model", lambda: model("ply")),
    "a.fbx": ("model/vnd.fbx", "model", lambda: b"Kaydara FBX Binary  \x00\x1a\x00\xe8\x1c" + bytes(99)),
    "text.fbx": ("model/vnd.fbx", "model", lambda: b"; FBX 7.4.0 project file\n\nFBXHeaderExtension:  {\n}\n"),
    "a.ttf": ("font/ttf", "font", font),
    "a.otf": ("font/otf", "font", lambda: font("otf")),
    "a.ttc": ("font/collection", "font", lambda: font("ttc")),
    "a.woff": ("font/woff", "font", lambda: font("woff")),
    "a.woff2": ("font/woff2", "font", lambda: font("woff2")),
    "a.docx": (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document", lambda: office("docx"),
    ),
    "a.xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "document", lambda: office("xlsx")),
    "a.pptx": (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation", "document", lambda: office("pptx"),
    ),
    "a.docm": ("application/vnd.ms-word.document.macroenabled.12", "document", lambda: office("docm")),
    "a.xlsm": ("application/vnd.ms-excel.sheet.macroenabled.12", "document", lambda: office("xlsm")),
    "a.pptm": ("application/vnd.ms-powerpoint.presentation.macroenabled.12", "document", lambda: office("pptm")),
    "a.odt": ("application/vnd.oasis.opendocument.text", "document", opendocument),
    "a.ods": ("application/vnd.oasis.opendocument.spreadsheet", "document", lambda: opendocument("spreadsheet")),
    "a.odp": ("application/vnd.oasis.opendocument.presentation", "document", lambda: opendocument("presentation")),
    "a.doc": ("application/msword", "document", word97),
    "a.xls": ("application/vnd.ms-excel", "document", lambda: compound({"Workbook": b"\x09\x08\x10\x00\x00\x06"})),
    "a.ppt": ("application/vnd.ms-powerpoint", "document", lambda: compound({"PowerPoint Document": b"\x0f\x00"})),
    "a.rtf": ("application/rtf", "document", lambda: rb"{\rtf1\ansi Hello\par}"),
    "a.txt": ("text/plain", "document", lambda: "Grüße, alle miteinander.\n".encode()),
    "latin.txt": ("text/plain", "document", lambda: "Die Größe der Gebäude ist nicht bekannt.\n".encode("cp1252")),
    "wide.txt": ("text/plain", "document", lambda: "Grüße".encode("utf-16")),
    "a.csv": ("text/csv", "document", lambda: TABLE),
    "a.json": ("application/json", "document", lambda: b'{"a": [1, 2]}'),
    "a.xml": ("application/xml", "document", lambda: b'<?xml version="1.0"?><note/>'),
    "a.vtt": ("text/vtt", "document", lambda: b"WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"),
    "a.zip": ("application/zip", "archive", lambda: zipped({"a.txt": b"x", "b/c.txt": b"y"})),
    "a.tar": ("application/x-tar", "archive", lambda: tar({"a.txt": b"x"})),
    "a.tgz": ("application/gzip", "archive", lambda: tar({"a.txt": b"x"}, "w:gz")),
    "a.tbz2": ("application/x-bzip2", "archive", lambda: tar({"a.txt": b"x"}, "w:bz2")),
    "a.txz": ("application/x-xz", "archive", lambda: tar({"a.txt": b"x"}, "w:xz")),
    "a.txt.gz": ("application/gzip", "archive", lambda: gzip.compress(b"hello")),
    "a.txt.bz2": ("application/x-bzip2", "archive", lambda: bz2.compress(b"hello")),
    "a.txt.xz": ("application/x-xz", "archive", lambda: lzma.compress(b"hello")),
    "a.7z": ("application/x-7z-compressed", "archive", lambda: b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(40)),
    "a.rar": ("application/vnd.rar", "archive", lambda: b"Rar!\x1a\x07\x01\x00" + bytes(40)),
    "a.elf": ("application/x-elf", "opaque", lambda: Path(sys.executable).resolve().read_bytes()[:20000]),
    "a.exe": ("application/vnd.microsoft.portable-executable", "opaque", windows_program),
    "a.dylib": ("application/x-mach-binary", "opaque", lambda: b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(99)),
    "a.jar": ("application/java-archive", "opaque", lambda: zipped({"META-INF/MANIFEST.MF": "", "A.class": b""})),
    "a.sh": ("text/x-script", "opaque", lambda: b"#!/bin/sh\necho hello\n"),
    "a.php": ("text/x-script", "opaque", lambda: b"<?php echo 1; ?>"),
    "a.js": ("text/x-script", "opaque", lambda: b"function hello() { return 1 }\n"),
    "a.html": ("text/html", "opaque", lambda: b"<!DOCTYPE html><html><body>Hello</body></html>"),
}  # fmt: skip


def _without_id3(data: bytes) -> bytes:
    length = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return data[10 + length :] if data[:3] == b"ID3" else data


def made(name: str) -> bytes:
    """Return the bytes of a sample of :data:`KINDS`, made once a run."""
    if name not in _made:
        _made[name] = KINDS[name][2]()
    return _made[name]


_made: dict[str, bytes] = {}
