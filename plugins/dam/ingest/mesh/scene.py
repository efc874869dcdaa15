"""What is drawn of a model: its pieces as one, within a ball of radius 1, y up, with a normal at every corner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dam.ingest.mesh import Piece, same_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

#: More triangles than this are thinned out before they are drawn; more points of a cloud are left out.
_MOST_FACES, _MOST_POINTS = 800_000, 250_000
_TURN, _LIFT = np.radians(32.0), np.radians(20.0)  # of the camera: to the right of the front, and up
#: Faces that meet at less than this angle are one smooth surface.
_SMOOTH = float(np.cos(np.radians(38.0)))
#: So many neighbours around a point are compared with each face at it.
_NEIGHBOURS = 12


def axes() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the camera's directions: right, above, and from the model towards it."""
    towards = np.array([np.sin(_TURN) * np.cos(_LIFT), np.sin(_LIFT), np.cos(_TURN) * np.cos(_LIFT)])
    right = unit(np.cross([0.0, 1.0, 0.0], towards))
    return right, np.cross(towards, right), towards


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return vectors of length 1; what has no direction stays without."""
    made: NDArray[Any] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)
    return made


class Scene:
    """All pieces as one.

    :raises ValueError: there is nothing to draw.

    ``points`` n × 3, ``faces`` m × 3, ``piece`` m: which piece a face is of; ``corners`` m × 3 × 3: normals;
    ``colours`` n × 4 and ``places`` n × 2, or None; ``ground``: height of the lowest point; ``whole``: nothing
    was left out.
    """

    def __init__(self, pieces: list[Piece], up: str) -> None:
        pieces = [piece if len(piece.faces) else _cloud(piece, up) for piece in pieces if len(piece.points)]
        if not pieces:
            raise ValueError("there is nothing to draw")
        self.pieces, self.whole = pieces, True
        starts = np.cumsum([0, *(len(piece.points) for piece in pieces)])
        self.points = _turned(np.concatenate([piece.points for piece in pieces]).astype(np.float64), up)
        self.faces = np.concatenate(
            [piece.faces.astype(np.int64) + start for piece, start in zip(pieces, starts, strict=False)]
        )
        self.piece = np.repeat(np.arange(len(pieces)), [len(piece.faces) for piece in pieces])
        self._into_ball()
        if len(self.faces) > _MOST_FACES:
            self._thin()
        self.corners = self._normals(starts, up)
        self.colours = _joined([piece.colours for piece in pieces], starts, 4, 1.0)
        self.places = _joined([piece.places for piece in pieces], starts, 2, 0.0)
        clear = np.array([piece.material.clear or piece.material.cutoff is not None for piece in pieces])
        self.is_clear = clear[self.piece]

    def used(self) -> NDArray[np.bool_]:
        """Return which points belong to a face."""
        used = np.zeros(len(self.points), dtype=bool)
        used[self.faces] = True
        return used

    def _into_ball(self) -> None:
        used = self.points[self.used()]
        low, high = used.min(axis=0), used.max(axis=0)
        middle = (low + high) / 2
        radius = float(np.linalg.norm(used - middle, axis=1).max())
        if not np.isfinite(radius) or radius <= 0:
            raise ValueError("it has no extent")
        self.points = ((self.points - middle) / radius).astype(np.float32)
        self.ground = float((low[1] - middle[1]) / radius)

    def _thin(self) -> None:
        """Pull points together on a grid, at first finer than the picture, and drop what falls into itself."""
        for grid in (640, 400, 250):
            cells = np.round((np.clip(self.points, -1, 1) + 1) * grid).astype(np.int64)
            keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
            _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            faces = first[inverse.reshape(-1)][self.faces]
            kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
            self.faces, self.piece = faces[kept], self.piece[kept]
            if len(self.faces) <= 2 * _MOST_FACES:
                return
        step = -(-len(self.faces) // (2 * _MOST_FACES))
        self.faces, self.piece, self.whole = self.faces[::step], self.piece[::step], False

    def _normals(self, starts: NDArray[Any], up: str) -> Floats:
        """Return a normal for every corner: the file's, or the mean of the faces that meet there smoothly."""
        given = np.array([piece.normals is not None for piece in self.pieces])
        made = np.empty((len(self.faces), 3, 3), dtype=np.float32)
        told = given[self.piece]
        if told.any():
            parts = [None if one.normals is None else _turned(unit(one.normals), up) for one in self.pieces]
            normals = _joined(parts, starts, 3, 0.0)
            made[told] = normals[self.faces[told]] if normals is not None else 0
        if not told.all():
            made[~told] = _smoothed(self.points, self.faces[~told])
        return made


def _smoothed(points: Floats, faces: NDArray[Any]) -> Floats:
    """Return normals m × 3 × 3: around each point, the mean of those faces that bend less than a crease."""
    ends = points[faces]
    across = np.cross(ends[:, 1] - ends[:, 0], ends[:, 2] - ends[:, 0])
    corner = same_places(points)[faces].reshape(-1)
    order = np.argsort(corner, kind="stable")
    corner = corner[order]
    weighed = across[order // 3]
    straight = unit(weighed)
    summed = weighed.copy()
    for distance in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
        met = np.flatnonzero(corner[:-distance] == corner[distance:])
        if not len(met):
            break
        met = met[(straight[met] * straight[met + distance]).sum(axis=1) > _SMOOTH]
        summed[met] += weighed[met + distance]
        summed[met + distance] += weighed[met]
    made = np.empty_like(summed)
    made[order] = unit(summed)
    return made.reshape(-1, 3, 3).astype(np.float32)


def _turned(points: NDArray[Any], up: str) -> NDArray[Any]:
    """Return points with y up."""
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1) if up == "z" else points


def _cloud(piece: Piece, up: str) -> Piece:
    """Return a cloud of points as small squares that face the camera."""
    every = -(-len(piece.points) // _MOST_POINTS)
    points = piece.points[::every].astype(np.float64)
    # strays don't make the others large
    near = np.abs(points - np.median(points, axis=0)) <= 4 * points.std(axis=0) + 1e-9
    extent = points[near.all(axis=1)]
    across = float(np.linalg.norm(extent.max(axis=0) - extent.min(axis=0))) or 1.0
    half = across * float(np.clip(0.6 / np.sqrt(len(points)), 0.0012, 0.02))
    right, above, _ = axes()
    if up == "z":  # the camera's directions in the model's space
        right, above = (np.array([axis[0], -axis[2], axis[1]]) for axis in (right, above))
    corners = np.stack([-right - above, right - above, right + above, above - right]) * half
    quads = (points[:, None, :] + corners[None]).reshape(-1, 3).astype(np.float32)
    halves = np.array([[0, 1, 2], [0, 2, 3]])
    faces = (4 * np.arange(len(points))[:, None, None] + halves).reshape(-1, 3).astype(np.int32)
    normals = None if piece.normals is None else np.repeat(piece.normals[::every], 4, axis=0)
    colours = None if piece.colours is None else np.repeat(piece.colours[::every], 4, axis=0)
    return Piece(quads, faces, normals, colours, None, piece.material)


def _joined(parts: list[NDArray[Any] | None], starts: NDArray[Any], width: int, missing: float) -> Floats | None:
    """Return what pieces say of their points as one array; None where none says anything."""
    if all(part is None for part in parts):
        return None
    made = np.full((int(starts[-1]), width), missing, dtype=np.float32)
    for part, start in zip(parts, starts, strict=False):
        if part is not None:
            made[start : start + len(part)] = part
    return made
