"""The demonstration's photographs: a small marketing library at full camera size.

Every picture is an enlarged crop of a freely licensed photograph that comes inside the scikit-image
package; who took it and under which terms is what the docstrings of ``skimage.data`` say, and is embedded
in each file (EXIF, IPTC-IIM, XMP) together with titles, captions, alternative text and keywords. Only the
camera data are made up, and the files say so. The bytes depend on the arguments alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyexiv2
import pyvips

from dam.errors import BadInput

Pixels = npt.NDArray[np.float32]  # height × width × 3, sRGB from 0 to 1

_STAMP = ".photos.json"
_CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
_PUBLIC_DOMAIN = "https://creativecommons.org/publicdomain/mark/1.0/"
_FREE = "Free to use, also commercially."
_NASA = "Free to use; must not suggest that NASA endorses a product or service."
_NOTE = "Enlarged crop of a scikit-image sample photograph for a demonstration; camera and position made up."


@dataclass(frozen=True, slots=True)
class Source:
    """A photograph inside scikit-image: its file, who made it and under which terms.

    ``place`` is (city, country, latitude, longitude).
    """

    file: str
    creator: str
    credit: str
    copyright: str
    licence: str
    address: str
    terms: str = _FREE
    place: tuple[str, str, float, float] | None = None


_SOURCES = {
    "coffee": Source(
        "coffee.png",
        "Rachel Michetti",
        "Pikolo Espresso Bar",
        "No rights reserved (CC0 by Rachel Michetti).",
        _CC0,
        "scikit-image: skimage.data.coffee",
        place=("Montréal", "Canada", 45.5093, -73.5724),
    ),
    "cat": Source(
        "chelsea.png",
        "Stefan van der Walt",
        "Stefan van der Walt",
        "No rights reserved (CC0 by Stefan van der Walt).",
        _CC0,
        "scikit-image: skimage.data.chelsea",
    ),
    "astronaut": Source(
        "astronaut.png",
        "NASA",
        "NASA",
        "Public domain (NASA); no known copyright restrictions.",
        _PUBLIC_DOMAIN,
        "https://flic.kr/p/r9qvLn",
        _NASA,
    ),
    "rocket": Source(
        "rocket.jpg",
        "SpaceX",
        "SpaceX",
        "Public domain (released by SpaceX).",
        _PUBLIC_DOMAIN,
        "https://www.flickr.com/photos/spacexphotos/16511594820/",
        place=("Cape Canaveral", "United States", 28.5619, -80.5774),
    ),
    "hubble": Source(
        "hubble_deep_field.jpg",
        "NASA",
        "NASA",
        "Public domain (NASA, Hubble Space Telescope).",
        _PUBLIC_DOMAIN,
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        _NASA,
    ),
    "camera": Source(
        "camera.png",
        "Lav Varshney",
        "Lav Varshney",
        "No rights reserved (CC0 by Lav Varshney).",
        _CC0,
        "scikit-image: skimage.data.camera",
    ),
    "coins": Source(
        "coins.png",
        "Brooklyn Museum",
        "Brooklyn Museum",
        "No known copyright restrictions (Brooklyn Museum Collection).",
        "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
        "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
    ),
    "grass": Source(
        "grass.png",
        "linolafett",
        "linolafett (DeviantArt)",
        "No rights reserved (CC0 by linolafett).",
        _CC0,
        "https://www.deviantart.com/linolafett/art/Grass-01-434853879",
    ),
    "gravel": Source(
        "gravel.png",
        "CC0Textures",
        "CC0Textures",
        "No rights reserved (CC0 by CC0Textures).",
        _CC0,
        "https://cc0textures.com/view.php?tex=Gravel04",
    ),
    "brick": Source(
        "brick.png",
        "CC0Textures",
        "CC0Textures",
        "No rights reserved (CC0 by CC0Textures).",
        _CC0,
        "https://cc0textures.com/view.php?tex=Bricks25",
    ),
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One photograph to make.

    :param slug: its PROJECT part when the caller names none.
    :param source: key of the source photograph.
    :param box: left, top, width of the crop in source pixels; the height follows from the aspect.
    :param size: width and height of the result in pixels, upright.
    :param tone: name of a grading, see ``_grade``.
    :param wide: encode in Display P3 instead of sRGB.
    :param turned: store the picture on its side with EXIF orientation 6.
    """

    slug: str
    source: str
    box: tuple[int, int, int]
    size: tuple[int, int]
    title: str
    description: str
    alt: str
    keywords: tuple[str, ...]
    tone: str = "plain"
    suffix: str = ".jpg"
    wide: bool = False
    turned: bool = False
    located: bool = False
    people: tuple[str, ...] = ()


_L12, _L16, _L20, _L24 = (4272, 2848), (4944, 3296), (5472, 3648), (6000, 4000)
_P12, _P16 = (2848, 4272), (3296, 4944)
_F12, _Q13 = (4032, 3024), (3600, 3600)

_GOOD: tuple[Shot, ...] = (
    Shot(
        "STOCK-COFFEE-TABLE",
        "coffee",
        (0, 0, 600),
        _L24,
        "Espresso on a wooden table",
        "A fresh espresso in a red cup stands on its saucer on a worn wooden table, a spoon beside it.",
        "Red espresso cup with saucer and spoon on a wooden table, seen from above.",
        ("coffee", "espresso", "cup", "café", "wood", "red", "drink"),
        located=True,
    ),
    Shot(
        "STOCK-COFFEE-TALL",
        "coffee",
        (160, 0, 266),
        _P16,
        "Espresso, portrait",
        "The red espresso cup fills an upright frame, with the crema catching the light of the café.",
        "Close view of a red cup filled with espresso, in portrait format.",
        ("coffee", "espresso", "cup", "café", "red", "close-up"),
        "warm",
        wide=True,
    ),
    Shot(
        "STOCK-CAT-GAZE",
        "cat",
        (0, 0, 450),
        _L16,
        "Chelsea the cat",
        "Chelsea, a tabby cat with green eyes, looks past the camera from a soft blanket.",
        "Face of a ginger tabby cat with green eyes.",
        ("cat", "pet", "animal", "portrait", "eyes", "home"),
    ),
    Shot(
        "STOCK-ASTRONAUT-PORTRAIT",
        "astronaut",
        (32, 0, 340),
        _P12,
        "Astronaut Eileen Collins",
        "Official portrait of NASA astronaut Eileen Collins in her orange launch suit, helmet at her side.",
        "Smiling woman in an orange space suit in front of a flag and a model of the space shuttle.",
        ("astronaut", "person", "woman", "portrait", "space", "NASA", "orange"),
        turned=True,
        people=("Eileen Collins",),
    ),
    Shot(
        "STOCK-ROCKET-DUSK",
        "rocket",
        (0, 0, 640),
        _L24,
        "Rocket on the pad at dusk",
        "Falcon 9 with the DSCOVR satellite stands between the towers of Launch Complex 40 at dusk.",
        "White rocket on a floodlit launch pad under a deep blue evening sky.",
        ("rocket", "space", "launch", "technology", "dusk", "sky", "blue"),
        located=True,
    ),
    Shot(
        "STOCK-GALAXIES",
        "hubble",
        (0, 60, 1000),
        _F12,
        "Hubble eXtreme Deep Field",
        "Thousands of galaxies fill the Hubble Space Telescope's farthest view of the universe.",
        "Countless small bright galaxies scattered over a black sky.",
        ("space", "galaxy", "stars", "universe", "night", "science", "NASA"),
        wide=True,
    ),
    Shot(
        "STOCK-PHOTOGRAPHER",
        "camera",
        (0, 0, 512),
        _Q13,
        "The photographer",
        "A photographer in a long coat bends over a film camera on a tripod in a park.",
        "Black-and-white picture of a man in a dark coat looking through a camera on a tripod.",
        ("person", "man", "camera", "work", "park", "black and white"),
    ),
    Shot(
        "STOCK-BRICK-WALL",
        "brick",
        (0, 60, 510),
        _F12,
        "Brick paving",
        "A brick surface runs away from the viewer in long rows, toned in warm terracotta.",
        "Rows of narrow bricks with light joints, in a warm red tone.",
        ("brick", "architecture", "texture", "background", "red"),
        "terracotta",
        suffix=".png",
    ),
    Shot(
        "STOCK-COINS-COLLECTION",
        "coins",
        (0, 10, 384),
        _F12,
        "Greek coins from Pompeii",
        "Four rows of ancient Greek coins found at Pompeii lie on a dark board, toned in bronze.",
        "Four rows of ancient coins on a dark background.",
        ("coins", "museum", "history", "collection", "still life"),
        "bronze",
        suffix=".tif",
    ),
    Shot(
        "STOCK-COFFEE-SPOON",
        "coffee",
        (300, 160, 270),
        _F12,
        "Spoon on a saucer",
        "A polished spoon rests on the rim of a red saucer and mirrors the café around it.",
        "Metal spoon on a red saucer on a wooden table.",
        ("coffee", "spoon", "café", "wood", "red", "close-up"),
    ),
    Shot(
        "STOCK-CAT-PORTRAIT",
        "cat",
        (150, 0, 200),
        _P12,
        "Cat, upright portrait",
        "The cat's face fills an upright frame, whiskers and the pattern of the fur in sharp light.",
        "Upright close-up of a tabby cat's face with green eyes and pink nose.",
        ("cat", "pet", "animal", "portrait", "close-up"),
        "warm",
    ),
    Shot(
        "STOCK-SHUTTLE-MODEL",
        "astronaut",
        (300, 0, 212),
        _P12,
        "Model of the space shuttle",
        "A model of the space shuttle on its orange tank stands in the background of a NASA portrait.",
        "Model of a space shuttle with an orange tank before a grey backdrop.",
        ("space", "shuttle", "model", "technology", "NASA"),
        "cool",
    ),
    Shot(
        "STOCK-LAUNCH-TOWER",
        "rocket",
        (250, 60, 244),
        _P16,
        "Rocket and lightning towers",
        "The rocket rises beside a lattice tower while the floodlights of the pad flare in the dusk.",
        "Rocket standing next to a tall lattice tower against a dark blue sky.",
        ("rocket", "space", "launch", "tower", "dusk", "portrait format"),
        wide=True,
    ),
    Shot(
        "STOCK-GRASS",
        "grass",
        (0, 80, 510),
        _L12,
        "Meadow grass",
        "Short meadow grass with clover seen from straight above, toned in fresh green.",
        "Dense green grass seen from above.",
        ("grass", "nature", "texture", "background", "green", "spring"),
        "green",
    ),
    Shot(
        "STOCK-CAMERA-DETAIL",
        "camera",
        (150, 40, 240),
        _L12,
        "At the viewfinder",
        "The photographer leans into the viewfinder with one hand on the lens and a skyline behind him.",
        "Man in profile looking through a camera on a tripod, a city skyline in the distance.",
        ("person", "man", "camera", "work", "city", "black and white"),
    ),
    Shot(
        "STOCK-GALAXY-DETAIL",
        "hubble",
        (560, 250, 420),
        _Q13,
        "Galaxies, detail",
        "A yellow elliptical galaxy glows among smaller spiral and irregular galaxies of the deep field.",
        "Group of coloured galaxies against black space, one of them large and yellow.",
        ("space", "galaxy", "stars", "universe", "close-up", "NASA"),
    ),
    Shot(
        "STOCK-GRAVEL",
        "gravel",
        (0, 0, 512),
        _F12,
        "Gravel bed",
        "Crushed stones of one size make an even gravel bed, toned in a cool slate grey.",
        "Grey gravel seen from above.",
        ("gravel", "stone", "texture", "background", "grey"),
        "slate",
    ),
    Shot(
        "STOCK-COFFEE-CREMA",
        "coffee",
        (165, 20, 230),
        _L16,
        "Crema",
        "Golden crema covers the espresso inside a white-rimmed cup.",
        "Close-up of espresso with golden crema inside a cup with a white rim.",
        ("coffee", "espresso", "crema", "cup", "close-up", "drink"),
        "rich",
        wide=True,
    ),
    Shot(
        "STOCK-ASTRONAUT-WIDE",
        "astronaut",
        (0, 20, 512),
        _L20,
        "Astronaut and shuttle",
        "Eileen Collins smiles in her launch suit between the flag of the United States and a shuttle model.",
        "Astronaut in an orange suit with a flag to the left and a shuttle model to the right.",
        ("astronaut", "person", "woman", "space", "flag", "NASA"),
        "cool",
        people=("Eileen Collins",),
    ),
    Shot(
        "STOCK-COINS-DETAIL",
        "coins",
        (220, 90, 160),
        _Q13,
        "Coin portraits",
        "Portrait heads on worn Greek coins stand out in low, raking light.",
        "Several ancient coins with portrait heads, in black and white.",
        ("coins", "museum", "history", "close-up", "black and white"),
    ),
    Shot(
        "STOCK-PAD-LIGHTS",
        "rocket",
        (150, 250, 260),
        _L12,
        "Floodlights at the pad",
        "Floodlights flare around the foot of the rocket as night falls over the launch complex.",
        "Bright floodlights at the base of a rocket at night.",
        ("rocket", "launch", "lights", "night", "technology"),
        "warm",
    ),
    Shot(
        "STOCK-BRICK-DETAIL",
        "brick",
        (60, 250, 240),
        _L12,
        "Brick joints",
        "The light joints of a brick surface draw a calm pattern, toned in sand.",
        "Close-up of bricks and joints in a sand tone.",
        ("brick", "architecture", "texture", "background", "sand"),
        "sand",
    ),
    Shot(
        "STOCK-STARFIELD",
        "hubble",
        (20, 150, 440),
        _P12,
        "Field of stars, upright",
        "An upright part of the deep field leaves calm dark space between the galaxies for a headline.",
        "Upright view of scattered galaxies on black.",
        ("space", "galaxy", "stars", "night", "background", "NASA"),
        "rich",
    ),
    Shot(
        "STOCK-CAT-EYES",
        "cat",
        (100, 20, 240),
        _L12,
        "Green eyes",
        "Two green eyes of a tabby cat, framed close, with the fur's stripes running over the forehead.",
        "Close-up of the green eyes of a tabby cat.",
        ("cat", "pet", "animal", "eyes", "close-up", "green"),
        "rich",
    ),
)

_WRONG_EXTENSION = Shot(
    "STOCK-HELMET",
    "astronaut",
    (250, 310, 262),
    _F12,
    "Launch helmet",
    "A black and white launch helmet rests on the arm of an astronaut in an orange suit.",
    "Space helmet with a dark visor held by a person in an orange suit.",
    ("astronaut", "space", "helmet", "technology", "NASA", "orange"),
)
_WITHOUT_RIGHTS = Shot(
    "STOCK-TABLE-EDGE",
    "coffee",
    (0, 190, 300),
    _L12,
    "Saucer on the table",
    "The edge of a red saucer lies on the grain of an old wooden table, with room for text.",
    "Edge of a red saucer on a wooden table.",
    ("coffee", "café", "wood", "table", "red", "background"),
    "cool",
)


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """The files of one demonstration library.

    :param good: photographs that pass every check, in a fixed order; the first ones bear the names asked for.
    :param duplicate: the bytes of ``good[0]`` under another name.
    :param near_duplicate: ``good[4]`` at three quarters of its size, compressed harder.
    :param damaged: ``good[2]`` cut off in the middle.
    :param wrong_extension: a JPEG that calls itself ``.png``.
    :param without_rights: a photograph that names no creator, credit, copyright or licence.
    """

    good: list[Path]
    duplicate: Path
    near_duplicate: Path
    damaged: Path
    wrong_extension: Path
    without_rights: Path

    @property
    def files(self) -> list[Path]:
        """All files of the set, the good ones first."""
        return [
            *self.good,
            self.duplicate,
            self.near_duplicate,
            self.damaged,
            self.wrong_extension,
            self.without_rights,
        ]


def make(
    folder: Path, *, today: date, project_names: Sequence[str] = (), client: str = "ACME", job: str = ""
) -> PhotoSet:
    """Make the photographs in ``folder``, or return them at once when they are there already.

    :param folder: made when missing; a stamp file in it (``.photos.json``) remembers what it holds.
    :param today: the date in the files' names; capture dates lie in the weeks before it.
    :param project_names: PROJECT parts for the first photographs, e.g. ``SPRING27-HERO-A``; the others are
        named ``STOCK-…``.
    :param client: CLIENT part of every name.
    :param job: embedded as IPTC Job Id; another job makes other bytes of the same pictures.
    :raises BadInput: more names than there are photographs, a name twice, or scikit-image is missing.
    """
    if len(project_names) > len(_GOOD) or len(set(project_names)) < len(project_names):
        raise BadInput(
            f"{len(project_names)} project names were given",
            where="project_names",
            remedy=f"Give at most {len(_GOOD)} names, each once.",
        )
    wanted = [today.isoformat(), client, job, list(project_names), hashlib.sha256(_own_source()).hexdigest()]
    if (known := _from_stamp(folder, wanted)) is not None:
        return known
    folder.mkdir(parents=True, exist_ok=True)
    pyvips.concurrency_set(1)  # one thread a photograph; two photographs at once

    def path(project: str, suffix: str = ".jpg") -> Path:
        return folder / f"{project}_{client}_{today:%Y%m%d}_v01{suffix}"

    names = [*project_names, *(shot.slug for shot in _GOOD[len(project_names) :])]
    made = PhotoSet(
        good=[path(name, shot.suffix) for name, shot in zip(names, _GOOD, strict=True)],
        duplicate=path("STOCK-COFFEE-COPY"),
        near_duplicate=path("STOCK-ROCKET-SMALL"),
        damaged=path("STOCK-CAT-CUT"),
        wrong_extension=path(_WRONG_EXTENSION.slug, ".png"),
        without_rights=path(_WITHOUT_RIGHTS.slug),
    )
    shots = [
        *zip(made.good, _GOOD, strict=True),
        (made.wrong_extension, _WRONG_EXTENSION),
        (made.without_rights, _WITHOUT_RIGHTS),
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: _take(one[0], one[1], today, job, rights=one[1] is not _WITHOUT_RIGHTS), shots))
    shutil.copyfile(made.good[0], made.duplicate)
    small = pyvips.Image.new_from_file(str(made.good[4]), access="sequential").resize(0.75)
    _write(small, made.near_duplicate, made.good[4], quality=72)
    whole = made.good[2].read_bytes()
    made.damaged.write_bytes(whole[: len(whole) * 11 // 20])
    _write_stamp(folder, wanted, made)
    return made


def next_version(path: Path, folder: Path) -> Path:
    """Rework a photograph the way a designer answers a change request: brighter and cropped closer.

    :param path: a file named by the convention, e.g. ``…_v01.jpg``.
    :param folder: where the reworked file goes; made when missing.
    :returns: its path, with the next version number in its name and the same metadata inside.
    :raises BadInput: the name carries no version number.
    """
    found = re.fullmatch(r"(.+_v)(\d+)(\.\w+)", path.name)
    if found is None:
        raise BadInput(
            "the file name has no version number",
            where=path.name,
            remedy="Name it PROJECT_CLIENT_YYYYMMDD_v01.ext.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{found[1]}{int(found[2]) + 1:0{len(found[2])}d}{found[3]}"
    image = pyvips.Image.new_from_file(str(path))
    width, height = image.width, image.height
    left, top = width // 25, height // 25
    closer = image.crop(left, top, width - 2 * left, height - 2 * top)
    closer = closer.resize(width / closer.width, vscale=height / closer.height)
    brighter = (closer * 1.1 + 8).cast("uchar").copy(interpretation=image.interpretation)
    _write(brighter, target, path)
    return target


def _own_source() -> bytes:
    return Path(__file__).read_bytes()


def _write_stamp(folder: Path, wanted: list[Any], made: PhotoSet) -> None:
    names = {
        field.name: [p.name for p in value] if isinstance(value := getattr(made, field.name), list) else value.name
        for field in fields(made)
    }
    sizes = {path.name: path.stat().st_size for path in made.files}
    partial = folder / (_STAMP + ".tmp")
    partial.write_text(json.dumps({"wanted": wanted, "names": names, "bytes": sizes}, indent=1))
    partial.replace(folder / _STAMP)


def _from_stamp(folder: Path, wanted: list[Any]) -> PhotoSet | None:
    """Return the set that ``folder`` holds when its stamp asks for the same and no file changed its size."""
    if not (folder / _STAMP).is_file():
        return None
    stamp = json.loads((folder / _STAMP).read_text())
    if stamp["wanted"] != wanted:
        return None
    for name, size in stamp["bytes"].items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            return None
    names = stamp["names"]
    good = [folder / name for name in names.pop("good")]
    return PhotoSet(good=good, **{field: folder / name for field, name in names.items()})


@cache
def _photograph(key: str) -> Pixels:
    """Return a source photograph as height × width × 3 sRGB values from 0 to 1."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise BadInput(
            "scikit-image is not installed; its sample photographs are what the demonstration uses",
            where="skimage.data",
            remedy="Install the project's `demo` extra.",
        )
    image = pyvips.Image.new_from_file(str(Path(spec.origin).parent / "data" / _SOURCES[key].file))
    pixels: Pixels = np.asarray(image.numpy()).astype(np.float32) / np.float32(255)
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels[..., :3]


# dark, middle and light sRGB colours that a grey photograph is toned with
_TONES = {
    "terracotta": ((38, 18, 14), (158, 84, 60), (244, 220, 198)),
    "bronze": ((18, 14, 12), (136, 108, 76), (250, 236, 208)),
    "green": ((14, 26, 10), (88, 122, 48), (226, 240, 180)),
    "slate": ((16, 20, 26), (112, 122, 134), (238, 242, 246)),
    "sand": ((58, 44, 32), (186, 160, 124), (252, 242, 224)),
}


def _grade(pixels: Pixels, tone: str) -> Pixels:
    """Grade sRGB values (0..1): toned, warmer, cooler or richer; ``plain`` leaves them."""
    if tone in _TONES:
        grey = pixels.mean(axis=2)
        low, high = np.percentile(grey, (1, 99))
        grey = np.clip((grey - low) / max(high - low, 1e-3), 0, 1)
        stops = np.array(_TONES[tone], dtype=np.float32) / 255
        return np.stack([np.interp(grey, (0, 0.5, 1), stops[:, c]) for c in range(3)], axis=2).astype(np.float32)
    if tone == "warm":
        return pixels ** np.array((0.88, 0.97, 1.1), dtype=np.float32)
    if tone == "cool":
        return pixels ** np.array((1.08, 0.98, 0.88), dtype=np.float32)
    if tone == "rich":
        curved = pixels * pixels * (3 - 2 * pixels) * 0.6 + pixels * 0.4
        grey = curved.mean(axis=2, keepdims=True)
        rich: Pixels = np.clip(grey + (curved - grey) * 1.2, 0, 1)
        return rich
    return pixels


@cache
def _grain() -> Any:
    """Return a tile of film grain: one band, mean 0, made once."""
    noise = np.random.default_rng(1).normal(0, 3.2, (1531, 1531)).astype(np.float32)
    return pyvips.Image.new_from_array(noise)


def _picture(shot: Shot) -> Any:
    """Crop, grade, enlarge and grain a photograph; an 8-bit RGB image with its ICC profile."""
    width, height = shot.size
    left, top, across = shot.box
    down = round(across * height / width)
    crop = _photograph(shot.source)[top : top + down, left : left + across]
    if crop.shape[:2] != (down, across):
        raise BadInput("the crop leaves the photograph", where=shot.slug, remedy="Move or shrink its box.")
    graded = np.clip(_grade(crop, shot.tone) * 255 + 0.5, 0, 255).astype(np.uint8)
    image = pyvips.Image.new_from_array(graded).copy(interpretation="srgb").sharpen(sigma=0.7, x1=1, m2=2)
    profile = "p3" if shot.wide else "srgb"
    image = image.icc_transform(profile, input_profile="srgb")
    image = image.resize(width / across, vscale=height / down, kernel="lanczos3")
    grain = _grain()
    tiled = grain.replicate(-(-width // grain.width), -(-height // grain.height)).crop(0, 0, width, height)
    return (image + tiled).cast("uchar").copy(interpretation="srgb")


def _save(image: Any, path: Path, quality: int) -> None:
    """Write pixels and profile, nothing else."""
    if path.suffix == ".tif":
        image.tiffsave(str(path), compression="lzw", predictor="horizontal", keep="icc")
    elif path.suffix == ".png" and quality == 0:
        image.pngsave(str(path), compression=2, keep="icc")
    else:
        path.write_bytes(image.jpegsave_buffer(Q=quality, optimize_coding=True, keep="icc"))


def _write(image: Any, path: Path, original: Path, *, quality: int = 91) -> None:
    """Write a picture made from ``original`` with all of its embedded metadata."""
    partial = path.with_name(".partial-" + path.name)
    with original.open("rb") as stream:
        png = stream.read(4) == b"\x89PNG"
    _save(image, partial, 0 if png else quality)
    with pyexiv2.Image(str(original)) as source, pyexiv2.Image(str(partial)) as target:
        source.copy_to_another_image(target, exif=True, iptc=True, xmp=True, comment=False, icc=False, thumbnail=False)
    partial.replace(path)


def _take(path: Path, shot: Shot, today: date, job: str, *, rights: bool) -> None:
    """Make one photograph with everything embedded; ``rights``: name creator, credit and terms."""
    image = _picture(shot)
    if shot.turned:
        image = image.rot270()
    partial = path.with_name(".partial-" + path.name)
    _save(image, partial, 0 if shot.suffix == ".png" else 91)
    # a fixed number per photograph: capture days and times differ but never change between two runs
    number = int.from_bytes(hashlib.sha256(shot.slug.encode()).digest()[:4], "big")
    taken = datetime.combine(today - timedelta(days=7 + number % 40), time(8 + number % 10, number % 60))
    source = _SOURCES[shot.source]
    with pyexiv2.Image(str(partial)) as target:
        target.modify_exif(_exif(shot, source, taken, number, rights))
        target.modify_iptc(_iptc(shot, source, taken, rights))
        target.modify_xmp(_xmp(shot, source, taken, rights))
        if job:
            target.modify_iptc({"Iptc.Application2.TransmissionReference": job})
            target.modify_xmp({"Xmp.photoshop.TransmissionReference": job})
    partial.replace(path)


def _degrees(value: float) -> str:
    """Return degrees, minutes and seconds as EXIF rationals."""
    seconds = round(abs(value) * 360_000)
    return f"{seconds // 360_000}/1 {seconds // 6_000 % 60}/1 {seconds % 6_000}/100"


def _exif(shot: Shot, source: Source, taken: datetime, number: int, rights: bool) -> dict[str, str]:
    stamp = f"{taken:%Y:%m:%d %H:%M:%S}"
    exif = {
        "Exif.Image.Make": "Example Optics",
        "Exif.Image.Model": "Example M24",
        "Exif.Image.Orientation": "6" if shot.turned else "1",
        "Exif.Image.DateTime": stamp,
        "Exif.Image.ImageDescription": shot.description,
        "Exif.Photo.DateTimeOriginal": stamp,
        "Exif.Photo.OffsetTimeOriginal": "+02:00",
        "Exif.Photo.ExposureTime": f"1/{(60, 125, 250, 500)[number % 4]}",
        "Exif.Photo.FNumber": ("28/10", "40/10", "56/10", "80/10")[number // 4 % 4],
        "Exif.Photo.ISOSpeedRatings": str((100, 200, 400, 800)[number // 16 % 4]),
        "Exif.Photo.FocalLength": f"{(35, 50, 85, 100)[number // 64 % 4]}/1",
        "Exif.Photo.LensModel": f"Example {(35, 50, 85, 100)[number // 64 % 4]}mm F2.8",
        "Exif.Photo.ColorSpace": "65535" if shot.wide else "1",
    }
    if rights:
        exif |= {"Exif.Image.Artist": source.creator, "Exif.Image.Copyright": source.copyright}
    if shot.located and source.place:
        latitude, longitude = source.place[2:]
        exif |= {
            "Exif.GPSInfo.GPSVersionID": "2 3 0 0",
            "Exif.GPSInfo.GPSLatitudeRef": "N" if latitude >= 0 else "S",
            "Exif.GPSInfo.GPSLatitude": _degrees(latitude),
            "Exif.GPSInfo.GPSLongitudeRef": "E" if longitude >= 0 else "W",
            "Exif.GPSInfo.GPSLongitude": _degrees(longitude),
        }
    return exif


def _iptc(shot: Shot, source: Source, taken: datetime, rights: bool) -> dict[str, str | list[str]]:
    iptc: dict[str, str | list[str]] = {
        "Iptc.Envelope.CharacterSet": "\x1b%G",
        "Iptc.Application2.ObjectName": shot.title,
        "Iptc.Application2.Caption": shot.description,
        "Iptc.Application2.Keywords": list(shot.keywords),
        "Iptc.Application2.DateCreated": f"{taken:%Y-%m-%d}",
        "Iptc.Application2.SpecialInstructions": _NOTE,
    }
    if source.place:
        iptc |= {
            "Iptc.Application2.City": source.place[0],
            "Iptc.Application2.CountryName": source.place[1],
        }
    if rights:
        iptc |= {
            "Iptc.Application2.Byline": [source.creator],
            "Iptc.Application2.Credit": source.credit,
            "Iptc.Application2.Copyright": source.copyright,
        }
    return iptc


def _xmp(shot: Shot, source: Source, taken: datetime, rights: bool) -> dict[str, Any]:
    def text(value: str) -> dict[str, str]:
        return {'lang="x-default"': value}

    xmp: dict[str, Any] = {
        "Xmp.dc.title": text(shot.title),
        "Xmp.dc.description": text(shot.description),
        "Xmp.dc.subject": list(shot.keywords),
        "Xmp.dc.language": ["en"],
        "Xmp.photoshop.DateCreated": f"{taken:%Y-%m-%dT%H:%M:%S}+02:00",
        "Xmp.photoshop.Instructions": _NOTE,
        "Xmp.iptc.AltTextAccessibility": text(shot.alt),
    }
    if shot.people:
        xmp["Xmp.iptcExt.PersonInImage"] = list(shot.people)
    if source.place:
        xmp |= {"Xmp.photoshop.City": source.place[0], "Xmp.photoshop.Country": source.place[1]}
    if rights:
        xmp |= {
            "Xmp.dc.creator": [source.creator],
            "Xmp.dc.rights": text(source.copyright),
            "Xmp.photoshop.Credit": source.credit,
            "Xmp.photoshop.Source": source.address,
            "Xmp.xmpRights.Marked": "False",
            "Xmp.xmpRights.UsageTerms": text(source.terms),
            "Xmp.xmpRights.WebStatement": source.licence,
        }
    return xmp
