from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyexiv2
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dam.renditions import imaging
from dam.renditions.recipes import Recipe
from dam.settings import PROJECT

RED, BLACK = (230, 20, 20), (0, 0, 0)


def pixels(made: imaging.Made) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(made.data, "")


def colour(image: pyvips.Image, x: float, y: float) -> list[float]:
    """Colour at a point given as fractions of width and height."""
    return [float(v) for v in image(int(x * (image.width - 1)), int(y * (image.height - 1)))]


def near(found: list[float], wanted: tuple[int, ...], by: int = 24) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def test_all_recipes_of_a_photograph(photograph: Path, recipes: dict[str, Recipe]) -> None:
    made = imaging.make(photograph, recipes, recipes)
    sizes = {name: (one.width, one.height) for name, one in made.items()}
    assert sizes == {
        "preview": (205, 137),
        "thumbnail": (25, 17),
        "webp": (192, 128),
        "avif": (192, 128),
        "portrait": (108, 192),
        "landscape": (192, 108),
        "square": (108, 108),
    }
    for name, one in made.items():
        image = pixels(one)
        assert (image.width, image.height) == sizes[name]
        assert image.get("vips-loader").startswith({"jpeg": "jpeg", "webp": "webp", "avif": "heif"}[one.media_type[6:]])
        assert image.get_typeof("icc-profile-data") != 0


def test_bytes_depend_on_source_and_recipe_alone(photograph: Path, recipes: dict[str, Recipe]) -> None:
    together = imaging.make(photograph, recipes, recipes)
    alone = {name: imaging.make(photograph, [name], recipes)[name] for name in recipes}
    assert alone == together


def test_bytes_do_not_depend_on_the_process_or_its_threads(
    photograph: Path, recipes: dict[str, Recipe], tmp_path: Path
) -> None:
    script = (
        "import sys, pickle, pyvips; from pathlib import Path; from dam.renditions import imaging\n"
        "pyvips.concurrency_set(4)\n"
        "recipes = pickle.loads(Path(sys.argv[2]).read_bytes())\n"
        "made = imaging.make(Path(sys.argv[1]), recipes, recipes)\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps({name: one.data for name, one in made.items()}))\n"
    )
    exchange = tmp_path / "exchange"
    exchange.write_bytes(pickle.dumps(recipes))
    subprocess.run([sys.executable, "-c", script, str(photograph), str(exchange)], check=True, cwd=PROJECT / "plugins")
    here = {name: one.data for name, one in imaging.make(photograph, recipes, recipes).items()}
    assert pickle.loads(exchange.read_bytes()) == here


def test_place_and_camera_are_left_out_and_rights_kept(photograph: Path, recipes: dict[str, Recipe]) -> None:
    made = imaging.make(photograph, recipes, recipes)
    for name, one in made.items():
        assert b"Secret Camera" not in one.data, name
        assert "Montréal".encode() not in one.data, name
        image = pixels(one)
        assert image.get_typeof("exif-data") == 0 or "GPS" not in str(image.get_fields())
        packet = bytes(image.get("xmp-data"))
        for kept in ("Ana &lt;Ω&gt; Photographer", "© 2027 Ana", "Agency &amp; Sons", "licence?a=1&amp;b=2"):
            assert kept.encode() in packet, (name, kept)
    with pyexiv2.ImageData(made["preview"].data) as image:
        assert not image.read_exif()
        assert image.read_iptc() == {
            "Iptc.Envelope.CharacterSet": "\x1b%G",
            "Iptc.Application2.Byline": ["Ana <Ω> Photographer"],
            "Iptc.Application2.Credit": "Agency & Sons",
            "Iptc.Application2.Copyright": "© 2027 Ana",
        }
        assert image.read_xmp()["Xmp.xmpRights.WebStatement"] == "https://example.org/licence?a=1&b=2"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(
    tmp_path: Path, scene: pyvips.Image, recipes: dict[str, Recipe], orientation: int
) -> None:
    # how the upright scene lies in the file, for each value of EXIF 2.32's Orientation tag
    stored = {
        1: scene,
        2: scene.fliphor(),
        3: scene.rot180(),
        4: scene.flipver(),
        5: scene.rot90().fliphor(),
        6: scene.rot270(),
        7: scene.rot270().fliphor(),
        8: scene.rot90(),
    }[orientation]
    path = tmp_path / "turned.jpg"
    stored.jpegsave(str(path), Q=95)
    with pyexiv2.Image(str(path)) as image:
        image.modify_exif({"Exif.Image.Orientation": str(orientation)})
    made = imaging.make(path, ["preview", "landscape"], recipes)
    preview = pixels(made["preview"])
    assert (preview.width, preview.height) == (205, 137)
    assert near(colour(preview, 1 / 6, 350 / 600), RED)
    assert near(colour(preview, 0.01, 0.01), BLACK)
    assert (made["landscape"].width, made["landscape"].height) == (192, 108)


def _wide_gamut(scene: pyvips.Image) -> Any:
    return scene.icc_transform("p3", input_profile="srgb")


def _cmyk(scene: pyvips.Image) -> Any:
    return scene.icc_transform("cmyk", input_profile="srgb")


def _sixteen_bits(scene: pyvips.Image) -> Any:
    return (scene.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")


def _sixteen_bits_wide(scene: pyvips.Image) -> Any:
    return scene.icc_transform("p3", input_profile="srgb", depth=16)


def _lab(scene: pyvips.Image) -> Any:
    return scene.colourspace("lab")


@pytest.mark.parametrize(
    ("build", "suffix"),
    [
        (_wide_gamut, ".jpg"),
        (_wide_gamut, ".webp"),
        (_wide_gamut, ".png"),
        (_cmyk, ".tif"),
        (_cmyk, ".jpg"),
        (_sixteen_bits, ".png"),
        (_sixteen_bits, ".tif"),
        (_sixteen_bits_wide, ".tif"),
        (_lab, ".tif"),
    ],
)
def test_colours_arrive_in_srgb(
    tmp_path: Path, scene: pyvips.Image, recipes: dict[str, Recipe], build: Any, suffix: str
) -> None:
    path = tmp_path / f"source{suffix}"
    build(scene).write_to_file(str(path))
    made = imaging.make(path, ["preview", "landscape", "square"], recipes)
    for name, one in made.items():
        image = pixels(one)
        assert (image.bands, image.format, image.interpretation) == (3, "uchar", "srgb"), name
    preview = pixels(made["preview"])
    # CMYK inks can't print this red as it is
    assert near(colour(preview, 1 / 6, 350 / 600), RED, by=40 if build is _cmyk else 12)
    assert near(colour(preview, 0.75, 0.5), tuple(int(v) for v in scene(675, 300)), by=12)


def test_grey_pictures_also_with_an_alien_profile(
    tmp_path: Path, scene: pyvips.Image, recipes: dict[str, Recipe]
) -> None:
    grey = scene.colourspace("b-w")
    profile = bytes(_wide_gamut(scene).get("icc-profile-data"))
    alien = grey.copy()
    alien.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    for name, image in (("plain.png", grey), ("alien.jpg", alien)):
        image.write_to_file(str(tmp_path / name))
        preview = pixels(imaging.make(tmp_path / name, ["preview"], recipes)["preview"])
        found = colour(preview, 0.75, 0.5)
        assert max(found) - min(found) <= 2
        assert abs(found[0] - grey(675, 300)[0]) <= 6


@pytest.mark.parametrize("deep", [False, True])
def test_transparency_is_kept_or_becomes_white(
    tmp_path: Path, scene: pyvips.Image, recipes: dict[str, Recipe], deep: bool
) -> None:
    x = np.mgrid[0:600, 0:900][1]
    mask = pyvips.Image.new_from_array(np.where(x < 450, 0, 255).astype(np.uint8))
    image = scene.bandjoin(mask).copy(interpretation="srgb")
    if deep:
        image = (image.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")
    image.write_to_file(str(tmp_path / "cutout.png"))
    made = imaging.make(tmp_path / "cutout.png", recipes, recipes)
    for name in ("webp", "avif", "square"):
        assert pixels(made[name]).hasalpha(), name
    webp = pixels(made["webp"])
    assert colour(webp, 0.1, 0.6)[3] == 0
    assert colour(webp, 0.9, 0.6)[3] == 255
    for name in ("preview", "thumbnail"):
        jpeg = pixels(made[name])
        assert near(colour(jpeg, 0.1, 0.6), (255, 255, 255), by=6), name
        assert near(colour(jpeg, 0.75, 0.5), tuple(int(v) for v in scene(675, 300)), by=12), name


def test_attention_follows_the_subject_and_a_focus_point_is_obeyed(
    tmp_path: Path, scene: pyvips.Image, recipes: dict[str, Recipe]
) -> None:
    path = tmp_path / "scene.png"
    scene.write_to_file(str(path))
    tall = recipes["portrait"].model_copy(update={"encode": recipes["square"].encode})
    right = tall.model_copy(update={"focus": (1.0, 0.5)})
    made = imaging.make(path, ["subject", "right"], {"subject": tall, "right": right})
    red = [pixels(one)[0] > pixels(one)[1] + 100 for one in made.values()]
    assert red[0].avg() > 1
    assert red[1].avg() == 0


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    box=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    focus=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_into_any_box(
    tmp_path: Path, width: int, height: int, box: tuple[int, int], focus: tuple[float, float]
) -> None:
    path = tmp_path / "any.jpg"
    (pyvips.Image.black(width, height, bands=3) + 128).cast("uchar").copy(interpretation="srgb").jpegsave(str(path))
    common: dict[str, Any] = {"width": box[0], "height": box[1], "encode": {"format": "jpeg", "quality": 50}}
    table = {
        "whole": Recipe.model_validate({"name": "whole", "fit": "inside", **common}),
        "cut": Recipe.model_validate({"name": "cut", "fit": "crop", "focus": focus, **common}),
        "eye": Recipe.model_validate({"name": "eye", "fit": "crop", "focus": "attention", **common}),
    }
    made = imaging.make(path, table, table)
    for name, one in made.items():
        assert one.width <= min(box[0], width), name
        assert one.height <= min(box[1], height), name
    if width >= box[0] and height >= box[1]:
        assert (made["cut"].width, made["cut"].height) == box
        assert (made["eye"].width, made["eye"].height) == box
        assert made["whole"].width == box[0] or made["whole"].height == box[1]
    elif width <= box[0] and height <= box[1]:
        assert (made["whole"].width, made["whole"].height) == (width, height)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
@given(width=st.integers(1, 1300), box=st.integers(16, 400), least=st.integers(16, 400))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_picture_that_is_large_enough_has_the_size_that_its_decoder_gives(
    tmp_path: Path, suffix: str, width: int, box: int, least: int
) -> None:
    path = tmp_path / f"any{suffix}"
    (pyvips.Image.black(width, 9, bands=3) + 128).cast("uchar").copy(interpretation="srgb").write_to_file(str(path))
    recipe = Recipe.model_validate(
        {
            "name": "whole",
            "fit": "inside",
            "width": box,
            "height": box,
            "least": min(least, box),
            "encode": {"format": "webp", "quality": 50},
        }
    )
    made = imaging.make(path, ["whole"], {"whole": recipe})["whole"]
    assert min(width, least, box) <= made.width <= min(width, box)
    scales = (1, 2, 3, 4, 8) if suffix == ".jpg" else (1, 2, 4, 8)
    given = {size for eighths in scales for size in (width * eighths // 8, -(-width * eighths // 8))}
    assert made.width in given | {box}


def images_alive() -> int:
    return sum(isinstance(one, pyvips.Image) for one in gc.get_objects())


def test_no_picture_stays_in_memory(photograph: Path, recipes: dict[str, Recipe]) -> None:
    gc.disable()  # nothing may wait for the collector: pixels are far larger than the objects that it counts
    try:
        imaging.make(photograph, recipes, recipes)
        before = images_alive()
        imaging.make(photograph, recipes, recipes)
        assert images_alive() == before
    finally:
        gc.enable()


def test_a_damaged_picture_is_refused(photograph: Path, recipes: dict[str, Recipe]) -> None:
    photograph.write_bytes(photograph.read_bytes()[:20_000])
    with pytest.raises(imaging.Unreadable, match=r"photograph\.jpg: can't be rendered"):
        imaging.make(photograph, ["preview"], recipes)
    photograph.write_bytes(b"not a picture at all")
    with pytest.raises(imaging.Unreadable):
        imaging.make(photograph, ["preview"], recipes)


def test_the_key_changes_with_source_recipe_and_imaging(recipes: dict[str, Recipe]) -> None:
    told = recipes["square"].fingerprint(recipes)
    key = imaging.rendition_key("a" * 64, told)
    assert key == imaging.rendition_key("a" * 64, dict(reversed(told.items())))
    assert len({key, imaging.rendition_key("b" * 64, told), imaging.rendition_key("a" * 64, told | {"width": 1})}) == 3
