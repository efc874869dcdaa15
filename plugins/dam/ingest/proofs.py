"""Preview and thumbnail of whatever can be looked at, made by the same recipes as every rendition."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dam.ingest.inspection import Inspection, Job, Proof
from dam.ingest.pixels import colour_names, on_white, perceptual_hash
from dam.renditions import imaging
from dam.renditions.recipes import Recipe, read

PREVIEW, THUMBNAIL = "preview", "thumbnail"


def of_picture(job: Job, picture: Any, told: Inspection) -> None:
    """Make preview and thumbnail of a picture, and note perceptual hash, colours and transparency.

    :param picture: an :class:`~dam.renditions.imaging.Source`, or a libvips image: a video's poster, a page,
        a picture of a model.
    :param told: the inspection to note them in.
    """
    source = picture if isinstance(picture, imaging.Source) else imaging.Source(job.path, picture)
    recipes = _recipes(job.recipes, job.recipes.stat().st_mtime_ns)
    for name, made in source.make((PREVIEW, THUMBNAIL), recipes).items():
        add(
            job, told, name, made.data, made.media_type, width=made.width, height=made.height,
            recipe=recipes[name].fingerprint(recipes),
        )  # fmt: skip
    small = source.picture(THUMBNAIL, recipes)
    seen = np.ndarray(buffer=small.write_to_memory(), dtype=np.uint8, shape=(small.height, small.width, small.bands))
    if small.bands < 3:
        seen = np.concatenate([seen[:, :, :1]] * 3 + ([seen[:, :, 1:]] if small.bands == 2 else []), axis=2)
    flat = on_white(seen)
    told.phash = perceptual_hash(flat)
    told.colours = colour_names(flat)
    told.technical["transparent"] = seen.shape[2] == 4 and bool((seen[:, :, 3] < 128).mean() > 0.01)


def of_page(job: Job, picture: Any, told: Inspection, number: int) -> None:
    """Make the proof of one page, ``page-1`` the first, by the preview's recipe.

    :param picture: the page as a libvips image.
    """
    recipes = _recipes(job.recipes, job.recipes.stat().st_mtime_ns)
    made = imaging.Source(job.path, picture).make((PREVIEW,), recipes)[PREVIEW]
    add(
        job, told, f"page-{number}", made.data, made.media_type, width=made.width, height=made.height,
        recipe={"page": number} | recipes[PREVIEW].fingerprint(recipes),
    )  # fmt: skip


def box(job: Job) -> tuple[int, int]:
    """Return the least width and height of a preview in pixels: what has no pixels of its own is drawn so large."""
    return _recipes(job.recipes, job.recipes.stat().st_mtime_ns)[PREVIEW].least_box


def add(
    job: Job, told: Inspection, name: str, data: bytes, media_type: str, *, width: int = 0, height: int = 0,
    recipe: dict[str, Any],
) -> None:  # fmt: skip
    """Keep bytes as a proof in the scratch folder and note it."""
    path = job.scratch / f"{len(told.proofs)}-{name}"
    path.write_bytes(data)
    keep(job, told, name, path, media_type, width=width, height=height, recipe=recipe)


def keep(
    job: Job, told: Inspection, name: str, path: Path, media_type: str, *, width: int = 0, height: int = 0,
    recipe: dict[str, Any],
) -> None:  # fmt: skip
    """Note a file in the scratch folder as a proof: one that is too large to be handed over in memory."""
    told.proofs.append(Proof(name, str(path.relative_to(job.scratch)), media_type, width, height, recipe))


@lru_cache(maxsize=4)
def _recipes(path: Path, _changed: int) -> dict[str, Recipe]:
    return read(path)
