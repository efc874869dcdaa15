"""Every raster format is decoded in full, once; what is in it is told, and preview and thumbnail are made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - makes Pillow know the format
import pytest
import pyvips
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

import world
from dam.renditions import imaging
from dam.renditions.recipes import read
from dam.settings import PROJECT

pillow_heif.register_heif_opener()


def shapes(size=(800, 600), bands=3, seed=1) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (size[1] // 10, size[0] // 10, bands), dtype=np.uint8)
    return np.kron(coarse, np.ones((10, 10, 1), dtype=np.uint8))


def dng(path: Path) -> None:
    """Write a camera's raw file: a colour filter array with what LibRaw needs to develop it."""
    values = np.kron(np.random.default_rng(1).integers(500, 3500, (60, 80)), np.ones((10, 10))).astype(np.uint16)
    tags = [
        (271, 2, 0, "ACME", True), (272, 2, 0, "ACME One", True), (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50707, 1, 4, bytes([1, 1, 0, 0]), True), (50708, 2, 0, "ACME One", True), (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True), (50717, 4, 1, 4095, True), (50714, 4, 1, 0, True),
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, 5, 3, (1, 2, 1, 1, 1, 2), True), (50778, 3, 1, 21, True),
    ]  # fmt: skip
    tifffile.imwrite(path, values, photometric=32803, planarconfig=1, extratags=tags)


def cmyk(path: Path) -> None:
    Image.fromarray(shapes(bands=4), "CMYK").save(path)


def sixteen(path: Path) -> None:
    tifffile.imwrite(path, shapes().astype(np.uint16) * 257, photometric="rgb", compression="deflate")


def photoshop(path: Path) -> None:
    """Write a flat PSD (Adobe Photoshop File Formats Specification): header, no layers, raw planes."""
    pixels = shapes()
    head = b"8BPS" + (1).to_bytes(2, "big") + bytes(6) + (3).to_bytes(2, "big")
    head += pixels.shape[0].to_bytes(4, "big") + pixels.shape[1].to_bytes(4, "big") + (8).to_bytes(2, "big")
    head += (3).to_bytes(2, "big") + bytes(4) * 3 + bytes(2)
    path.write_bytes(head + np.moveaxis(pixels, 2, 0).tobytes())


def by_pillow(**options):
    return lambda path: Image.fromarray(shapes()).save(path, **options)


WRITERS = {
    "a.jpg": (by_pillow(), "image/jpeg"), "progressive.jpg": (by_pillow(progressive=True), "image/jpeg"),
    "a.png": (by_pillow(), "image/png"), "a.webp": (by_pillow(), "image/webp"), "a.avif": (by_pillow(), "image/avif"),
    "a.heic": (by_pillow(), "image/heic"), "a.jxl": (by_pillow(), "image/jxl"), "a.gif": (by_pillow(), "image/gif"),
    "a.tif": (by_pillow(), "image/tiff"), "cmyk.tif": (cmyk, "image/tiff"), "sixteen.tif": (sixteen, "image/tiff"),
    "a.psd": (photoshop, "image/vnd.adobe.photoshop"), "a.dng": (dng, "image/x-adobe-dng"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_decoded_and_shown(name, tmp_path):
    write, media_type = WRITERS[name]
    path = tmp_path / name
    write(path)
    answer = world.look(path)
    assert (answer["media_type"], answer["kind"]) == (media_type, "image")
    told = answer["told"]
    assert (told["width"], told["height"]) == (800, 600)
    assert told["phash"] is not None
    assert len(told["pixel_hash"]) == 32
    proofs = {proof["name"]: proof for proof in told["proofs"]}
    assert set(proofs) == {"preview", "thumbnail"}
    shown = Image.open(io.BytesIO(proofs["thumbnail"]["data"]))
    assert shown.size == (256, 192) == (proofs["thumbnail"]["width"], proofs["thumbnail"]["height"])


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.02, 0.9), flips=st.lists(st.floats(0, 0.999), max_size=20))
def test_damage_is_refused_or_told_and_never_raises(name, tmp_path, share, flips):
    write, _ = WRITERS[name]
    path = tmp_path / f"cut-{name}"
    write(path)
    whole = bytearray(path.read_bytes())
    cut = whole[: int(len(whole) * share)]
    path.write_bytes(cut)
    assert "told" not in world.look(path)
    for flip in flips:
        whole[int(len(whole) * flip)] ^= 0xFF
    path.write_bytes(whole)
    answer = world.look(path)
    assert answer.keys() & {"told", "unusable", "opaque"}


@pytest.mark.parametrize("size", [(5001, 3333), (1601, 77), (257, 4099), (31, 17)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_proofs_are_the_renditions_that_the_recipe_makes(size, name, tmp_path):
    """Byte by byte: whoever makes them again, from the vault, gets the same."""
    path = tmp_path / name
    height, width = size[1], size[0]
    grid = np.add.outer(np.arange(height) * 3, np.arange(width) * 5) % 256
    Image.fromarray(np.dstack([grid, grid[::-1], grid * 7 % 251]).astype(np.uint8)).save(path)
    recipes = read(PROJECT / "include" / "templates" / "recipes.yaml")
    again = imaging.make(path, ["preview", "thumbnail"], recipes)
    for proof in world.look(path)["told"]["proofs"]:
        assert proof["data"] == again[proof["name"]].data, proof["name"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_told_and_shown_upright(orientation, tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(shapes((900, 600))).save(path, exif=exif)
    told = world.look(path)["told"]
    upright = (600, 900) if orientation >= 5 else (900, 600)
    assert (told["width"], told["height"]) == upright
    [thumbnail] = [proof for proof in told["proofs"] if proof["name"] == "thumbnail"]
    assert (thumbnail["width"] < thumbnail["height"]) == (orientation >= 5)


def test_pixels_have_the_same_hash_whatever_the_metadata_or_container(tmp_path):
    pixels = Image.fromarray(shapes())
    pixels.save(tmp_path / "a.png")
    pixels.save(tmp_path / "b.png", compress_level=1)
    pixels.save(tmp_path / "c.tif", compression="tiff_lzw")
    changed = shapes()
    changed[-1, -1, -1] ^= 1
    Image.fromarray(changed).save(tmp_path / "d.png")
    plain = world.picture(tmp_path, "e.jpg", size=(4000, 3000), xmp={})
    titled = world.picture(tmp_path, "f.jpg", size=(4000, 3000))
    hashes = {path.name: world.look(path)["told"]["pixel_hash"] for path in tmp_path.iterdir()}
    assert hashes["a.png"] == hashes["b.png"] == hashes["c.tif"]
    assert hashes["d.png"] != hashes["a.png"], "one bit of one pixel is another picture"
    assert hashes["e.jpg"] == hashes["f.jpg"]
    assert plain.read_bytes() != titled.read_bytes()


@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
@pytest.mark.parametrize("least", [400, 900, 2000])
def test_pixels_have_the_same_hash_whatever_the_recipes(tmp_path, kind, least):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(shapes((3200, 1800))).save(path, kind)
    shipped = PROJECT / "include" / "templates" / "recipes.yaml"
    own = tmp_path / "recipes.yaml"
    own.write_text(shipped.read_text().replace("least: 1500", f"least: {least}").replace("2052", str(least + 9)))
    usual, told = (world.look(path, recipes)["told"] for recipes in (shipped, own))
    assert told["proofs"][0]["width"] != usual["proofs"][0]["width"]
    assert told["pixel_hash"] == usual["pixel_hash"]


def test_transparency_is_noticed(tmp_path):
    cutout = np.dstack([shapes(), np.zeros((600, 800, 1), dtype=np.uint8)])
    cutout[100:500, 200:600, 3] = 255
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    assert world.look(tmp_path / "cutout.png")["told"]["technical"]["transparent"] is True


def test_profiles_are_named_and_colours_shown_as_they_are(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (400, 300), (200, 20, 20)).save(tmp_path / "red.jpg", icc_profile=profile, quality=95)
    told = world.look(tmp_path / "red.jpg")["told"]
    assert told["technical"]["icc_name"].startswith("sRGB")
    assert told["colours"] == ["red"]


def _exif(**words: Any) -> Image.Exif:
    exif = Image.Exif()
    for tag, value in words.items():
        exif[getattr(ExifTags.Base, tag)] = value
    return exif


@pytest.mark.parametrize(
    ("kind", "options", "dots"),
    [
        *((kind, {}, None) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF")),
        *((kind, {"dpi": (300, 300)}, 300) for kind in ("JPEG", "PNG", "TIFF")),
        ("JPEG", {"dpi": (72, 72)}, 72),
        ("PNG", {"dpi": (72, 72)}, 72),
        ("JPEG", {"exif": _exif(Make="ACME")}, None),
        ("JPEG", {"exif": _exif(XResolution=1.0, YResolution=1.0, ResolutionUnit=1)}, None),  # a shape of pixels
        *(
            (kind, {"exif": _exif(XResolution=240.0, YResolution=240.0, ResolutionUnit=2)}, 240)
            for kind in ("JPEG", "PNG", "WEBP", "AVIF")
        ),
        ("WEBP", {"exif": _exif(XResolution=100.0, YResolution=100.0, ResolutionUnit=3)}, 254),
        ("JPEG", {"dpi": (300, 300), "exif": _exif(XResolution=240.0, YResolution=240.0, ResolutionUnit=2)}, 240),
    ],
)
def test_a_resolution_is_told_only_where_the_file_states_one(tmp_path, kind, options, dots):
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(shapes()).save(path, kind, **options)
    assert world.look(path)["told"]["technical"].get("dots_per_inch") == dots


def test_absurd_sizes_are_refused_from_the_header(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "huge.png")
    answer = world.look(tmp_path / "huge.png")
    assert answer["unusable"] == (
        "The picture claims to be 30000 × 30000 pixels (900 megapixels)."
        " At most 400 megapixels are accepted; ask for a smaller file."
    )


def test_every_page_is_looked_at(tmp_path):
    path = tmp_path / "pages.tif"
    pages = [Image.fromarray(shapes(seed=n)) for n in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_deflate")
    assert world.look(path)["told"]["technical"]["pages"] == 3
    data = path.read_bytes()
    offset = tifffile.TiffFile(path).pages[2].dataoffsets[0]
    path.write_bytes(data[:offset] + b"\xff" * 200 + data[offset + 200 :])
    assert "page 3" in world.look(path)["unusable"]


def test_memory_stays_small_for_a_large_picture(tmp_path):
    """120 megapixels are decoded strip by strip: 360 MB of pixels never stand in memory at once."""
    path = tmp_path / "large.tif"
    pyvips.Image.black(12_000, 10_000, bands=3).copy(interpretation="srgb").tiffsave(
        str(path), compression="deflate", tile=False
    )
    before = _peak()
    told = world.look(path)["told"]
    assert (told["width"], told["height"]) == (12_000, 10_000)
    assert _peak() - before < 200_000_000


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
