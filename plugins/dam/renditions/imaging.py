"""The imaging core: one picture in, its renditions out. Knows files and recipes, no catalogue.

What is made depends on the source's bytes, the recipe and :func:`imaging_version` alone: not on which
other recipes are asked for at the same time, nor on the machine's cores. Where the time goes, and why it is
done this way, is measured in ``benchmarks/bench_renditions.py``:

- a JPEG or WebP is decoded at the smallest of 8, 4, 2 and 1 eighths that serves a recipe (a JPEG at 3, too),
  once for all recipes that need this scale; where that fits into the recipe's box, nothing is resized;
- small recipes are made from another recipe's pixels (``from``);
- a crop is cut before it is resized, and colour is converted after;
- libvips keeps no operation cache and one thread, because workers are processes, one a core.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pyexiv2
import pyvips

from dam.errors import BadInput
from dam.renditions import pictures
from dam.renditions.recipes import Avif, Jpeg, Recipe, Webp

_OWN_VERSION = 4  # raise it when this module makes other bytes than before
_KEEP = pyvips.enums.ForeignKeep.XMP | pyvips.enums.ForeignKeep.ICC
_HEADS = 0.28  # of the height from the top: where heads are in upright pictures
_FULL_COLOUR = 90  # from this quality on, a JPEG's colours are as fine as its light
_FOCUS_SIDE = 320  # attention is looked for in a picture of this size, as it hardly changes above


class Unreadable(BadInput):
    """The file is no picture that this machine can decode."""


@dataclass(frozen=True, slots=True)
class Made:
    """An encoded rendition: its bytes, media type and size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


@cache
def imaging_version() -> str:
    """Return what, beside source and recipe, decides a rendition's bytes: our version, libvips's and simplejpeg's."""
    import simplejpeg

    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    return f"{_OWN_VERSION}/libvips-{libvips}/simplejpeg-{simplejpeg.__version__}"


def make(path: Path, wanted: Iterable[str], recipes: Mapping[str, Recipe]) -> dict[str, Made]:
    """Make renditions of one picture.

    :param path: the source file.
    :param wanted: names of the recipes to make.
    :param recipes: all recipes, as ``from`` may name one that is not wanted itself.
    :returns: what was made, by recipe name.
    :raises Unreadable: the file can't be decoded, wholly and without a fault.
    """
    # process-wide, as libvips has it: AVIF bytes depend on the number of threads
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    try:
        return Source(path).make(wanted, recipes)
    except (pyvips.Error, pictures.Broken, pictures.NoDecoder) as error:
        raise Unreadable(
            f"can't be rendered: {first_line(error)}",
            where=path.name,
            remedy="Ask the sender for an intact file in a common picture format.",
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of what a decoder complained of."""
    told = (error.detail or error.message) if isinstance(error, pyvips.Error) else error
    return (str(told).strip().splitlines() or ["no detail"])[0]


class Source:
    """One source file: its upright decodes by scale, point of attention, pictures, rights metadata.

    :param path: of the file. :param decoded: its picture where it was decoded before (a video's poster, a page).
    :param header: the file's picture, opened by the caller.
    """

    def __init__(self, path: Path, decoded: Any = None, header: Any = None) -> None:
        self._path = path
        self._decoded = decoded
        self._jpeg = pictures.plain_jpeg(path) if decoded is None else None
        if header is None:
            header = self.open() if decoded is None else decoded
        sideways = header.get_typeof("orientation") != 0 and header.get("orientation") >= 5
        self.width, self.height = (header.height, header.width) if sideways else (header.width, header.height)
        self._levels: dict[int, Any] = {}
        self._focus: dict[int, tuple[float, float]] = {}
        self._pictures: dict[str, Any] = {}

    def open(self, eighths: int = 8) -> Any:
        """Open the picture, decoded at so many eighths of its size where its decoder can do so."""
        return pictures.open_picture(self._path, eighths=eighths)

    def make(self, wanted: Iterable[str], recipes: Mapping[str, Recipe]) -> dict[str, Made]:
        """Make renditions by recipe name. :raises pyvips.Error: the file can't be decoded."""
        return {name: _encode(self.picture(name, recipes), recipes[name], self.rights) for name in wanted}

    def eighths_for(self, recipe: Recipe) -> int:
        """Return of how many eighths of its size the source must be decoded: 8, 4, 2, 1, or a JPEG 3."""
        width, height = recipe.least_box
        across, down = self.width / width, self.height / height
        return self.eighths_from(max(across, down) if recipe.fit == "inside" else min(across, down))

    def eighths_from(self, spare: float) -> int:
        """Return the fewest eighths it can be decoded at, when it is so many times as large as is needed."""
        spare = min(spare, self.width, self.height)  # a line of one pixel can't be shrunk
        return next(
            eighths
            for eighths in ((1, 2, 3, 4, 8) if self._jpeg else (1, 2, 4, 8))
            if spare * eighths >= 8 or eighths == 8
        )

    def level(self, eighths: int) -> Any:
        """Return the upright picture at so many eighths of its size, in memory, alpha premultiplied."""
        if eighths not in self._levels:
            image = self.decode(eighths)
            turned = image.get_typeof("orientation") != 0 and image.get("orientation") > 1
            self._levels[eighths] = in_memory(image.autorot()) if turned else image
        return self._levels[eighths]

    def decode(self, eighths: int) -> Any:
        """Return the picture at so many eighths in memory, alpha premultiplied, not upright yet."""
        pixels = self._jpeg.pixels(eighths) if self._jpeg else None
        if pixels is not None:
            return in_memory(self.open(), pixels, pixels.shape[1], pixels.shape[0])
        image = self.open(eighths) if self._decoded is None else self._decoded
        at_once = self._decoded is None and pictures.shrinks_on_load(self._path)
        return in_memory(shrunk(image, 1 if at_once else 8 // eighths))

    def focus(self, eighths: int) -> tuple[float, float]:
        """Return the point of attention as fractions of width and height."""
        if eighths not in self._focus:
            level = self.level(eighths)
            small = to_srgb(level.resize(min(1.0, _FOCUS_SIDE / max(level.width, level.height))))
            side = min(small.width, small.height)
            _, found = small.smartcrop(side, side, interesting="attention", attention_x=True, attention_y=True)
            x, y = found["attention_x"] / small.width, found["attention_y"] / small.height
            # a bright coat outshines a face
            self._focus[eighths] = (x, min(y, _HEADS) if small.height > small.width else y)
        return self._focus[eighths]

    def picture(self, name: str, recipes: Mapping[str, Recipe]) -> Any:
        """Return a recipe's pixels, made once."""
        if name not in self._pictures:
            made_from = recipes[name].made_from
            parent = self.picture(made_from, recipes) if made_from else None
            self._pictures[name] = _picture(self, recipes[name], parent)
        return self._pictures[name]

    @cached_property
    def rights(self) -> dict[str, str]:
        """Return creator, credit, copyright and licence as the source tells them; the only metadata kept."""
        return _read_rights(self._path)


def shrunk(image: Any, scale: int) -> Any:
    """Return an image or a strip of one, box-shrunk by a whole number, alpha premultiplied."""
    if image.hasalpha():
        image = image.premultiply().cast(image.format).copy(interpretation=image.interpretation)
    return image.shrink(scale, scale) if scale > 1 else image


def in_memory(image: Any, data: Any = None, width: int = 0, height: int = 0) -> Any:
    """Return an image in memory with what its pixels mean: colours, profile, orientation.

    libvips resizes tile by tile, and rounds a little differently by how the tiles lie, which depends on where an
    image comes from. Whatever is resized comes from here, so that the same pixels always give the same bytes.

    :param data: pixels to take in place of the image's own, ``width`` × ``height`` of them.
    """
    if data is None:
        data, width, height = image.write_to_memory(), image.width, image.height
    made = pyvips.Image.new_from_memory(data, width, height, image.bands, image.format)
    made = made.copy(interpretation=image.interpretation)
    for kind, name in ((pyvips.GValue.blob_type, "icc-profile-data"), (pyvips.GValue.gint_type, "orientation")):
        if image.get_typeof(name):
            made.set_type(kind, name, image.get(name))
    return made


def _picture(source: Source, recipe: Recipe, parent: Any) -> Any:
    """Return the recipe's pixels: sRGB, 8 bits, alpha (if any) not premultiplied, in memory."""
    eighths = source.eighths_for(recipe)
    image = there = source.level(eighths) if parent is None else parent
    if recipe.fit == "crop":
        focus = source.focus(eighths) if recipe.focus == "attention" else recipe.focus
        image = _crop(image, recipe.width / recipe.height, focus if isinstance(focus, tuple) else (0.5, 0.5))
    # a crop has the box's shape already, but for less than a pixel
    shrink = min(1.0, recipe.width / image.width, recipe.height / image.height)
    width = min(recipe.width, max(1, round(image.width * shrink)))
    height = min(recipe.height, max(1, round(image.height * shrink)))
    if recipe.fit == "crop" and shrink < 1:
        width, height = recipe.width, recipe.height
    if parent is not None and image.hasalpha():
        image = image.premultiply().cast("uchar").copy(interpretation="srgb")
    if (width, height) != (image.width, image.height):
        # what is four times as large and more, libvips would shrink by a whole number before: worse, and slower
        image = image.resize(width / image.width, vscale=height / image.height, gap=0)
    converted = to_srgb(image)
    return converted if converted is there else converted.copy_memory()


def _crop(image: Any, aspect: float, focus: tuple[float, float]) -> Any:
    """Cut the largest window of ``aspect`` (width by height) that lies nearest around ``focus``."""
    width = min(image.width, max(1, round(image.height * aspect)))
    height = min(image.height, max(1, round(image.width / aspect)))
    left = min(max(round(focus[0] * image.width - width / 2), 0), image.width - width)
    top = min(max(round(focus[1] * image.height - height / 2), 0), image.height - height)
    return image.crop(left, top, width, height)


# ------------------------------------------------------------------------------------------- colour


@cache
def _srgb_profile() -> bytes:
    """Return the sRGB profile that every rendition carries."""
    pixel = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    return bytes(pixel.icc_transform("srgb", input_profile="srgb").get("icc-profile-data"))


@lru_cache(maxsize=64)
def _is_srgb(profile: bytes) -> bool:
    """Tell whether an RGB profile changes no colour by more than two steps, so that converting is a waste.

    There are dozens of sRGB profiles; the colours tell, not the name.
    """
    cube = bytes(value for colour in product(range(0, 256, 51), repeat=3) for value in colour)
    chart = pyvips.Image.new_from_memory(cube, 216, 1, 3, "uchar").copy(interpretation="srgb")
    tagged = chart.copy()
    tagged.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    try:
        return bool((tagged.icc_transform("srgb", embedded=True) - chart).abs().max() <= 2)
    except pyvips.Error:
        return False


def to_srgb(image: Any) -> Any:
    """Return 8-bit sRGB with straight alpha, from any colour space, depth and profile."""
    if image.hasalpha():
        image = image.unpremultiply().cast(image.format).copy(interpretation=image.interpretation)
    tagged = image.get_typeof("icc-profile-data") != 0
    kind, is_rgb = image.interpretation, image.interpretation in ("srgb", "rgb", "rgb16")
    if kind == "srgb" and image.format == "uchar" and (not tagged or _is_srgb(bytes(image.get("icc-profile-data")))):
        return image
    if tagged or kind == "cmyk":
        fallback = "cmyk" if kind == "cmyk" else "srgb" if is_rgb else None
        try:
            return image.icc_transform(
                "srgb",
                embedded=True,
                depth=8,
                intent="relative",
                black_point_compensation=True,
                **({"input_profile": fallback} if fallback else {}),
            )
        except pyvips.Error:
            if kind == "cmyk":
                raise
            # a profile for another colour space, as careless converters leave on greyscale pictures
    return image.colourspace("srgb").cast("uchar")


# ------------------------------------------------------------------------------------------ metadata

# name -> where it may stand, best first
_RIGHTS = {
    "creator": ("Xmp.dc.creator", "Iptc.Application2.Byline", "Exif.Image.Artist"),
    "copyright": ("Xmp.dc.rights", "Iptc.Application2.Copyright", "Exif.Image.Copyright"),
    "credit": ("Xmp.photoshop.Credit", "Iptc.Application2.Credit"),
    "source": ("Xmp.photoshop.Source", "Iptc.Application2.Source"),
    "terms": ("Xmp.xmpRights.UsageTerms",),
    "licence": ("Xmp.xmpRights.WebStatement",),
    "marked": ("Xmp.xmpRights.Marked",),
    "source_type": ("Xmp.iptcExt.DigitalSourceType",),
}


def _read_rights(path: Path) -> dict[str, str]:
    """Read the fields of ``_RIGHTS`` that the source holds; none where its format carries none."""
    try:
        with pyexiv2.Image(str(path)) as image:
            embedded: dict[str, Any] = image.read_exif() | image.read_iptc() | image.read_xmp()
    except (RuntimeError, UnicodeDecodeError):
        return {}
    rights = {}
    for name, places in _RIGHTS.items():
        for place in places:
            if text := _text(embedded.get(place)):
                rights[name] = text
                break
    return rights


def _text(value: Any) -> str:
    """Return a metadata value as one line of text: lists joined, the default language of several."""
    if isinstance(value, dict):
        value = value.get('lang="x-default"') or next(iter(value.values()), "")
    if isinstance(value, list):
        value = "; ".join(str(one) for one in value)
    return str(value or "").strip()


def _xmp(rights: Mapping[str, str]) -> bytes:
    """Write an XMP packet (ISO 16684-1) of the rights; IPTC Photo Metadata 2023 tells the places."""
    told = {name: escape(text) for name, text in rights.items()}

    def language(tag: str, name: str) -> str:
        text = told.get(name)
        alternative = f'<rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt>'
        return f"<{tag}>{alternative}</{tag}>" if text else ""

    def plain(tag: str, name: str) -> str:
        return f"<{tag}>{told[name]}</{tag}>" if name in told else ""

    creator = told.get("creator")
    parts = [
        f"<dc:creator><rdf:Seq><rdf:li>{creator}</rdf:li></rdf:Seq></dc:creator>" if creator else "",
        language("dc:rights", "copyright"),
        plain("photoshop:Credit", "credit"),
        plain("photoshop:Source", "source"),
        plain("xmpRights:Marked", "marked"),
        language("xmpRights:UsageTerms", "terms"),
        plain("xmpRights:WebStatement", "licence"),
        plain("Iptc4xmpExt:DigitalSourceType", "source_type"),
    ]
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        ' xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"{''.join(parts)}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    ).encode()


def _with_iptc(jpeg: bytes, rights: Mapping[str, str]) -> bytes:
    """Add the rights as IPTC-IIM, which older newsroom systems read in place of XMP."""
    iptc = {
        field: rights[name]
        for name, field in (
            ("creator", "Iptc.Application2.Byline"),
            ("credit", "Iptc.Application2.Credit"),
            ("source", "Iptc.Application2.Source"),
            ("copyright", "Iptc.Application2.Copyright"),
        )
        if name in rights
    }
    if not iptc:
        return jpeg
    with pyexiv2.ImageData(jpeg) as image:
        image.modify_iptc({"Iptc.Envelope.CharacterSet": "\x1b%G"} | iptc)
        return bytes(image.get_bytes())


# ------------------------------------------------------------------------------------------- encoding


def _encode(picture: Any, recipe: Recipe, rights: Mapping[str, str]) -> Made:
    """Encode pixels with the sRGB profile and the rights; everything else the source embeds stays out."""
    match recipe.encode:
        case Jpeg(quality=quality):
            data = _jpeg(picture, quality, rights)
        case Webp(quality=quality, effort=effort):
            data = _tagged(picture, rights).webpsave_buffer(Q=quality, effort=effort, keep=_KEEP)
        case Avif(quality=quality, speed=speed):
            data = _tagged(picture, rights).heifsave_buffer(
                compression="av1", Q=quality, effort=9 - speed, bitdepth=8, tune="ssim", keep=_KEEP
            )
    return Made(bytes(data), recipe.media_type, picture.width, picture.height)


def _tagged(picture: Any, rights: Mapping[str, str]) -> Any:
    """Return a picture that libvips saves with the sRGB profile and the rights."""
    image = picture.copy()
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", _srgb_profile())
    if image.get_typeof("xmp-data") != 0:
        image.remove("xmp-data")
    if rights:
        image.set_type(pyvips.GValue.blob_type, "xmp-data", _xmp(rights))
    return image


def _jpeg(picture: Any, quality: int, rights: Mapping[str, str]) -> bytes:
    """Encode a JPEG by libjpeg-turbo alone: libvips around it costs a third more, and exiv2 copies the whole file."""
    import simplejpeg

    image = picture.flatten(background=255) if picture.hasalpha() else picture
    bands = 3 if image.bands >= 3 else 1
    if image.bands != bands:
        image = image.extract_band(0, n=bands)
    pixels = np.ndarray(buffer=image.write_to_memory(), dtype=np.uint8, shape=(image.height, image.width, bands))
    sampling = "444" if quality >= _FULL_COLOUR else "420"
    data: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB" if bands == 3 else "GRAY", sampling)
    begin = 4 + int.from_bytes(data[4:6], "big")  # behind JFIF's segment, which must be the first
    return data[:begin] + _segments(tuple(rights.items()), bands) + data[begin:]


@lru_cache(maxsize=64)
def _segments(rights: tuple[tuple[str, str], ...], bands: int) -> bytes:
    """Return the segments that carry profile and rights in a JPEG (APP1 to APP15), as libvips and exiv2 write them."""
    image = pyvips.Image.black(8, 8, bands=bands).copy(interpretation="srgb" if bands == 3 else "b-w")
    data = _with_iptc(bytes(_tagged(image, dict(rights)).jpegsave_buffer(keep=_KEEP)), dict(rights))
    at, found = 2, []
    while data[at + 1] & 0xF0 == 0xE0:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] != 0xE0:
            found.append(data[at:end])
        at = end
    return b"".join(found)


def rendition_key(source_sha256: str, recipe: Mapping[str, Any]) -> str:
    """Return the SHA-256 that names a rendition: over source, recipe and imaging version.

    :param source_sha256: hex digest of the version's bytes.
    :param recipe: :meth:`dam.renditions.recipes.Recipe.fingerprint`.
    """
    told = json.dumps([source_sha256, recipe, imaging_version()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()
