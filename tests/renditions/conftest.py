from __future__ import annotations

from pathlib import Path

import numpy as np
import pyexiv2
import pytest
import pyvips

from dam.renditions.recipes import Recipe, read
from dam.settings import PROJECT


@pytest.fixture(scope="session")
def recipes() -> dict[str, Recipe]:
    """The shipped recipes at a tenth of their size, so that tests encode little."""
    shipped = read(PROJECT / "include" / "templates" / "recipes.yaml")
    sizes = ("width", "height", "least")
    return {
        name: recipe.model_copy(update={size: max(16, told // 10) for size in sizes if (told := getattr(recipe, size))})
        for name, recipe in shipped.items()
    }


@pytest.fixture(scope="session")
def scene() -> pyvips.Image:
    """A picture of 900 × 600 pixels: a dull blue gradient, a red spot at the left, top corner black."""
    y, x = np.mgrid[0:600, 0:900]
    pixels = np.stack([80 + x // 12, 95 + x // 12, 110 + y // 12], axis=2).astype(np.uint8)
    pixels[np.hypot(x - 150, y - 350) < 60] = (230, 20, 20)
    pixels[:40, :40] = 0
    return pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")


@pytest.fixture
def photograph(tmp_path: Path, scene: pyvips.Image) -> Path:
    """The scene as a JPEG with position, camera, caption and rights in it."""
    path = tmp_path / "photograph.jpg"
    scene.jpegsave(str(path), Q=90)
    with pyexiv2.Image(str(path)) as image:
        image.modify_exif(
            {
                "Exif.Image.Model": "Secret Camera",
                "Exif.Image.Copyright": "© EXIF",
                "Exif.GPSInfo.GPSLatitudeRef": "N",
                "Exif.GPSInfo.GPSLatitude": "45/1 30/1 0/1",
            }
        )
        image.modify_iptc({"Iptc.Application2.Credit": "Agency & Sons", "Iptc.Application2.City": "Montréal"})
        image.modify_xmp(
            {
                "Xmp.dc.creator": ["Ana <Ω> Photographer"],
                "Xmp.dc.rights": {'lang="x-default"': "© 2027 Ana", 'lang="fr"': "© 2027 Ana (fr)"},
                "Xmp.xmpRights.WebStatement": "https://example.org/licence?a=1&b=2",
                "Xmp.photoshop.City": "Montréal",
            }
        )
    return path
