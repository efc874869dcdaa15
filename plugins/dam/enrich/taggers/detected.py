"""The tagger of what has to be looked for in the picture: lettering, and faces, counted and nobody recognised."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from dam.enrich.taggers import Failed, Options, Said, Tagger, lettering
from dam.enrich.taggers.pictures import preview

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy

#: Faces are looked for in a picture of this size (longer side, pixels), and in its mirror image of that size:
#: the detector takes other shapes for faces, but seldom the same ones in both.
_SIDE, _MIRRORED_SIDE = 400, 320
_SMALLEST = 24
#: A face is found at so many places and sizes close to each other.
_AGREEING = 6


class DetectedOptions(Options):
    """What is looked for. :param text: lettering. :param faces: how many; nothing of them is kept."""

    text: bool = True
    faces: bool = False


class Detected(Tagger):
    """Lettering (own detector) and the number of faces (the detector that comes inside scikit-image)."""

    slow: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = DetectedOptions

    @property
    def model(self) -> str:
        """What looks."""
        return "lettering, LBP cascade" if self.options.faces else "lettering"

    @property
    def version(self) -> str:
        """Ours."""
        return "1"

    def unready(self) -> str | None:
        """Return that there is no face detector, when one is asked for."""
        if self.options.faces and find_spec("skimage") is None:
            return "faces are asked for and scikit-image is not installed: install it, or set faces: false"
        return None

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterator[Said]:
        """Yield terms of the facets technique and scene."""
        import pyvips

        try:
            picture = pyvips.Image.new_from_buffer(preview(self.services, session, version).data, "")
            picture = picture.flatten(background=255) if picture.hasalpha() else picture
            if self.options.text:
                yield from _lettering(picture.thumbnail_image(lettering.SIDE, height=lettering.SIDE))
            if self.options.faces:
                yield from _faces(picture)
        except pyvips.Error as error:
            raise Failed("The preview can't be decoded.", billed=False) from error


def _lettering(picture: Any) -> Iterator[Said]:
    found = lettering.letters(picture.colourspace("b-w")[0].cast("uchar"))
    if found:
        confidence = min(0.9, 0.6 + 0.02 * found)
        yield Said("technique/with-text", round(confidence, 2), f"about {found} letters stand in rows")


def _faces(picture: Any) -> Iterator[Said]:
    count = faces(picture)
    if count:
        term = {1: "scene/single", 2: "scene/two"}.get(count, "scene/group")
        yield Said(term, 0.55, f"{count} face{'s' if count > 1 else ''} seen")


def faces(picture: Any) -> int:
    """Return how many faces look out of a picture: those that are found in its mirror image, too."""
    found = _found(picture, _SIDE, mirrored=False)
    again = _found(picture, _MIRRORED_SIDE, mirrored=True) if found else []
    return sum(
        any(abs(x - other) < size / 2 and abs(y - row) < size for other, row, _ in again) for x, y, size in found
    )


def _found(picture: Any, side: int, *, mirrored: bool) -> list[tuple[float, float, float]]:
    """Return centres and sizes of faces, in shares of the picture's width and height, and of its width."""
    import numpy as np
    import skimage.data
    from skimage.feature import Cascade

    small = picture.thumbnail_image(side, height=side).colourspace("srgb")
    small = (small.bandjoin([small, small]) if small.bands == 1 else small)[0:3].cast("uchar")
    if min(small.width, small.height) < 2 * _SMALLEST:
        return []
    small = small.fliphor() if mirrored else small
    seen = np.ndarray(buffer=small.write_to_memory(), dtype=np.uint8, shape=(small.height, small.width, 3))
    known: Any = skimage.data  # its functions are not typed
    boxes = Cascade(known.lbp_frontal_face_cascade_filename()).detect_multi_scale(
        img=seen, scale_factor=1.15, step_ratio=1, min_size=(_SMALLEST, _SMALLEST), max_size=(side, side),
        min_neighbor_number=_AGREEING,
    )  # fmt: skip
    found = []
    for box in boxes:
        x = (box["c"] + box["width"] / 2) / small.width
        found.append(
            (1 - x if mirrored else x, (box["r"] + box["height"] / 2) / small.height, box["width"] / small.width)
        )
    return found
