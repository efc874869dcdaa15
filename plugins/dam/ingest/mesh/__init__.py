"""3D models: what the readers of this package make of a file, and what the renderer draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class Material:
    """How a surface looks, as far as a picture of a model shows it.

    :param colour: red, green, blue, alpha; linear, 0 to 1. :param texture: height × width × 4, 8 bit, sRGB.
    :param clear: light goes through by its alpha. :param cutoff: below this alpha there is nothing.
    """

    colour: tuple[float, float, float, float] = (0.62, 0.62, 0.64, 1.0)
    texture: NDArray[np.uint8] | None = None
    metallic: float = 0.0
    roughness: float = 0.6
    glow: tuple[float, float, float] = (0.0, 0.0, 0.0)
    clear: bool = False
    cutoff: float | None = None


@dataclass(slots=True)
class Piece:
    """Triangles of one material, in the model's space.

    :param points: n × 3. :param faces: m × 3, numbers of points; without any, the points are a cloud.
    :param normals: n × 3. :param colours: n × 4, linear, 0 to 1. :param places: n × 2, in the texture, from its top
        left.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32] | None = None
    colours: NDArray[np.float32] | None = None
    places: NDArray[np.float32] | None = None
    material: Material = field(default_factory=Material)


@dataclass(slots=True)
class Model:
    """A model as it was read.

    :param up: the axis that is up, ``y`` or ``z``. :param technical: see :class:`~dam.ingest.inspection.Inspection`.
    :param textures: its textures' pictures, for models whose shape can't be read.
    """

    pieces: list[Piece] = field(default_factory=list)
    up: str = "y"
    technical: dict[str, Any] = field(default_factory=dict)
    embedded: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    textures: list[Any] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def linear(colour: NDArray[Any]) -> NDArray[np.float32]:
    """Return sRGB values, 0 to 1, as linear light."""
    low = colour / 12.92
    high = ((np.maximum(colour, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(colour <= 0.04045, low, high).astype(np.float32)


def same_places(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a number for every point, the same for points at one place, whatever else they differ in."""
    # -0 is 0; three floats become one whole number, mixed so that it is as good as unique (splitmix64)
    bits = np.ascontiguousarray(points + np.float32(0), dtype=np.float32).view(np.uint32).astype(np.uint64)
    mixed = np.zeros(len(points), dtype=np.uint64)
    for axis in range(3):
        mixed = (mixed ^ bits[:, axis]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
    return np.unique(mixed, return_inverse=True)[1].reshape(-1).astype(np.int64)
