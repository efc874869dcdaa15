"""Five renditions of one original (thumbnail, preview, square, portrait, landscape): ours against others.

    python benchmarks/bench_renditions.py [--photos 8] [--rounds 3]

All make the same five sizes in the same formats with the same encoder settings, in sRGB and upright, one
after the other on one core; rounds alternate and the median counts. Baselines: ``vipsthumbnail`` once a
rendition (when it is on PATH), the same library call in process, and the obvious loop in Pillow.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["VIPS_CONCURRENCY"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import pyvips
from PIL import Image, ImageCms, ImageOps

from dam.demo import photos
from dam.renditions import imaging
from dam.renditions.recipes import Recipe, read
from dam.settings import PROJECT

NAMES = ("thumbnail", "preview", "square", "portrait", "landscape")
RECIPES = read(PROJECT / "include" / "templates" / "recipes.yaml")
SRGB = ImageCms.createProfile("sRGB")


def encoder(recipe: Recipe) -> dict[str, Any]:
    """Settings of libvips's encoder for a recipe."""
    settings = recipe.encode.model_dump()
    options: dict[str, Any] = {"Q": settings["quality"]}
    if settings["format"] == "jpeg":
        options["optimize_coding"] = True
    elif settings["format"] == "webp":
        options["effort"] = settings["effort"]
    else:
        options |= {"compression": "av1", "effort": 9 - settings["speed"], "bitdepth": 8, "tune": "ssim"}
    return options


def ours(path: Path) -> int:
    return sum(len(made.data) for made in imaging.make(path, NAMES, RECIPES).values())


def libvips_each(path: Path) -> int:
    total = 0
    for name in NAMES:
        recipe = RECIPES[name]
        image = pyvips.Image.thumbnail(
            str(path),
            recipe.width,
            height=recipe.height,
            size="down",
            output_profile="srgb",
            **({"crop": "attention"} if recipe.fit == "crop" else {}),
        )
        total += len(image.write_to_buffer(recipe.suffix, **encoder(recipe)))
    return total


def vipsthumbnail(path: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            recipe = RECIPES[name]
            known = encoder(recipe)
            if recipe.encode.format == "avif":  # older libvips knows no tune
                known.pop("tune")
            options = ",".join(f"{key}={str(value).lower()}" for key, value in known.items())
            command = ["vipsthumbnail", str(path), "--size", f"{recipe.width}x{recipe.height}>"]
            command += ["--export-profile", "srgb", "-o", f"{folder}/{name}{recipe.suffix}[{options}]"]
            command += ["--smartcrop", "attention"] if recipe.fit == "crop" else []
            subprocess.run(command, check=True, capture_output=True)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def pillow(path: Path) -> int:
    total = 0
    for name in NAMES:
        recipe = RECIPES[name]
        image: Image.Image = ImageOps.exif_transpose(Image.open(path))
        if profile := image.info.get("icc_profile"):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
            image = converted or image
        box = (recipe.width, recipe.height)
        if recipe.fit == "crop":
            image = ImageOps.fit(image, box, Image.Resampling.LANCZOS)
        else:
            image.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=None)
        settings = recipe.encode.model_dump()
        options: dict[str, Any] = {"quality": settings["quality"]}
        if settings["format"] == "jpeg":
            options["optimize"] = True
        elif settings["format"] == "webp":
            options["method"] = settings["effort"]
        else:
            options |= {"speed": settings["speed"], "max_threads": 1}
        buffer = io.BytesIO()
        image.save(buffer, settings["format"].upper(), **options)
        total += buffer.tell()
    return total


def peak(path: Path) -> tuple[int, int]:
    """Render one photograph; return this worker's pid and its largest resident size so far, in KB."""
    ours(path)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak after a spawn
    return os.getpid(), int(status.partition("VmHWM:")[2].split()[0])


def measure(ways: dict[str, Callable[[Path], int]], files: list[Path], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way over all files."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            for path in files:
                way(path)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=PROJECT / ".dam" / "bench-photos")
    given = parser.parse_args()
    made = photos.make(given.folder, today=date(2027, 3, 1))
    files = [path for path in made.good if path.suffix == ".jpg"][: given.photos]
    megapixels = 0.0
    for path in files:
        header = pyvips.Image.new_from_file(str(path))
        megapixels += header.width * header.height / 1e6

    ways: dict[str, Callable[[Path], int]] = {"ours": ours, "libvips, once a rendition": libvips_each}
    if shutil.which("vipsthumbnail"):
        ways["vipsthumbnail"] = vipsthumbnail
    ways["Pillow, naive"] = pillow
    for way in ways.values():
        way(files[0])
    seconds = measure(ways, files, given.rounds)
    sizes = {name: sum(way(path) for path in files) for name, way in ways.items()}
    print(f"{len(files)} JPEGs, {megapixels:.0f} MP, five renditions each, one core, {given.rounds} rounds")
    for name, found in seconds.items():
        print(
            f"{name:28} {megapixels / found:6.1f} MP/s   ours is {found / seconds['ours']:4.1f} × as fast"
            f"   {sizes[name] / 1e6:5.2f} MB"
        )
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        worst: dict[int, int] = {}
        for pid, kilobytes in pool.map(peak, files):
            worst[pid] = max(worst.get(pid, 0), kilobytes)
    print(f"two workers: {sum(worst.values()) / 1024:.0f} MB resident at most")


if __name__ == "__main__":
    main()
