"""A picture of a 3D model: a small software renderer in numpy.

Three-quarter view in perspective, a key light, a fill light and a sky, shading in corners by depth, a soft shadow
where the model meets the ground, and four samples a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from dam.ingest.mesh import linear, raster
from dam.ingest.mesh.scene import Scene, axes, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dam.ingest.mesh import Piece

    Floats = NDArray[np.float32]

#: Most samples in the boxes of all triangles for four samples a pixel; for one; the rest isn't drawn.
_FINE, _COARSE = 100_000_000, 200_000_000
_LAYERS = 3  # of clear surfaces behind each other
_AT_ONCE = 400_000  # samples that are lit at a time
_DISTANCE = 4.4  # of the camera, in radii of the model
_FILLED = 0.80  # of the picture, by the model
_SHADOW, _REACH = 384, 2.2  # side of the shadow's map in samples, and half of it in radii of the model

_RIGHT, _ABOVE, _TOWARDS = axes()
_KEY = unit(-0.55 * _RIGHT + 0.80 * _ABOVE + 0.55 * _TOWARDS).astype(np.float32)
_FILL = unit(0.80 * _RIGHT + 0.20 * _ABOVE + 0.45 * _TOWARDS).astype(np.float32)
_SKY, _EARTH = np.array([0.60, 0.63, 0.68], np.float32), np.array([0.30, 0.29, 0.28], np.float32)
_PAPER = linear(np.array([[0.915, 0.920, 0.930], [0.975, 0.975, 0.975]]))  # behind the model: top, bottom


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn model.

    :param pixels: height × width × 3, 8 bit, sRGB. :param colours: of its surfaces without light, n × 3, likewise.
    :param whole: whether everything was drawn.
    """

    pixels: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    whole: bool


def draw(pieces: list[Piece], width: int, height: int, *, up: str = "y") -> Picture:
    """Draw a model. :raises ValueError: there is nothing to draw."""
    scene = Scene(pieces, up)
    view = _View(scene, width, height, 2)
    if view.cost(scene) > _FINE:
        view = _View(scene, width, height, 1)
    drawing = _Drawing(scene, view)
    light = drawing.light().reshape(height, width, 3)
    return Picture(_encoded(light), _encoded(drawing.surfaces()), scene.whole)


def _encoded(light: Floats) -> NDArray[np.uint8]:
    """Return linear light as sRGB in 8 bits."""
    light = np.clip(light, 0, 1)
    coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    # a grain below what is seen, so that soft ground has no steps
    grain = np.random.default_rng(0).random(light.shape[:-1], dtype=np.float32)[..., None]
    whole: NDArray[np.uint8] = np.floor(coded * 255 + grain * 0.98).astype(np.uint8)
    return whole


class _View:
    """Where every point is in the picture.

    :param factor: samples a pixel, along each side.
    """

    def __init__(self, scene: Scene, width: int, height: int, factor: int) -> None:
        self.width, self.height, self.factor = width, height, factor
        away = _DISTANCE - scene.points @ _TOWARDS
        flat = np.stack([scene.points @ _RIGHT / away, -(scene.points @ _ABOVE) / away], axis=1)
        used = flat[scene.used()]
        low, high = used.min(axis=0), used.max(axis=0)
        across, down = np.maximum(high - low, 1e-6)
        self.scale = float(min(width * _FILLED / across, height * _FILLED / down))
        # a little higher than the middle: the shadow needs room
        self.offset = np.array([width / 2, height * 0.485]) - self.scale * (low + high) / 2
        self.at = ((flat * self.scale + self.offset) * factor).astype(np.float32)
        self.near = (1 / away).astype(np.float32)  # linear in the picture, unlike the distance

    def buffer(self) -> raster.Buffer:
        """Return an empty buffer of samples."""
        return raster.Buffer(self.width * self.factor, self.height * self.factor)

    def by_pixel(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return samples as pixels × samples of each."""
        split = samples.reshape(self.height, self.factor, self.width, self.factor)
        return split.transpose(0, 2, 1, 3).reshape(self.height * self.width, self.factor**2)

    def cost(self, scene: Scene) -> int:
        """Return how many samples the boxes around all triangles have; forget those beyond what can be drawn."""
        found = raster.boxes(self.at, scene.faces, self.width * self.factor, self.height * self.factor)
        sums = np.cumsum(found.across * found.down)
        if len(sums) and sums[-1] > 4 * _COARSE:
            kept = found.face[: int(np.searchsorted(sums, 4 * _COARSE))]
            scene.faces, scene.piece, scene.corners = scene.faces[kept], scene.piece[kept], scene.corners[kept]
            scene.is_clear, scene.whole = scene.is_clear[kept], False
        return int(sums[-1]) if len(sums) else 0


class _Drawing:
    """A scene in a view, lit."""

    def __init__(self, scene: Scene, view: _View) -> None:
        self._scene, self._view = scene, view
        self._solid = view.buffer()
        solid = np.flatnonzero(~scene.is_clear)
        raster.fill(self._solid, view.at, view.near, scene.faces[solid], solid)
        self._albedo: list[Floats] = []

    def light(self) -> Floats:
        """Return linear light, a row for every pixel."""
        light, alpha = self._lit(self._solid)
        light *= (1 - self._corners(self._solid))[:, None]
        light += self._behind() * (1 - alpha)[:, None]
        self._clear(light)
        return light

    def surfaces(self) -> Floats:
        """Return the colours of what was lit, some thousands of samples."""
        colours = np.concatenate(self._albedo) if self._albedo else np.zeros((1, 3), np.float32)
        return colours[:: max(1, len(colours) // 4096)]

    def _clear(self, light: Floats) -> None:
        """Add surfaces that light goes through, the nearest first."""
        scene, view = self._scene, self._view
        clear = np.flatnonzero(scene.is_clear)
        left, added = np.ones(len(light), dtype=np.float32), np.zeros_like(light)
        below: Floats | None = None
        for _ in range(_LAYERS if len(clear) else 0):
            layer = view.buffer()
            raster.fill(
                layer, view.at, view.near, scene.faces[clear], clear, below=below, above=self._solid.near * (1 + 1e-5)
            )
            colour, alpha = self._lit(layer)
            added += colour * left[:, None]
            left *= 1 - alpha
            below = np.where(layer.face >= 0, layer.near * (1 - 1e-5), 0).astype(np.float32)
        light *= left[:, None]
        light += added

    # ---------------------------------------------------------------------------------------------- light

    def _lit(self, buffer: raster.Buffer) -> tuple[Floats, Floats]:
        """Return light, already weighed by alpha, and alpha of all pixels."""
        view = self._view
        light = np.zeros((view.width * view.height, 3), np.float32)
        alpha = np.zeros(len(light), np.float32)
        faces = view.by_pixel(buffer.face)
        # a pixel within one triangle is lit once, in its middle; one at an edge at each of its samples
        plain = (faces == faces[:, :1]).all(axis=1)
        inner = np.flatnonzero(plain & (faces[:, 0] >= 0))
        half = (view.factor - 1) / 2
        for number in range(view.factor**2 + 1):
            if number == 0:
                seen, own, row, column, weight = inner, faces[inner, 0], half, half, 1.0
            else:
                row, column = float((number - 1) // view.factor), float((number - 1) % view.factor)
                seen = np.flatnonzero(~plain & (faces[:, number - 1] >= 0))
                own, weight = faces[seen, number - 1], 1 / view.factor**2
            for start in range(0, len(seen), _AT_ONCE):
                part = seen[start : start + _AT_ONCE]
                x = part % view.width * view.factor + column
                y = part // view.width * view.factor + row
                colour, clear = self._some(x, y, own[start : start + _AT_ONCE])
                light[part] += colour * (clear * weight)[:, None]
                alpha[part] += clear * weight
        return light, alpha

    def _some(self, x: NDArray[Any], y: NDArray[Any], faces: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return light and alpha at places in the picture that faces are known to be at."""
        scene, view = self._scene, self._view
        corners = scene.faces[faces]
        weights = np.clip(raster.weights(view.at[corners], x + 0.5, y + 0.5), 0, 1) * view.near[corners]
        weights /= weights.sum(axis=1, keepdims=True)  # right in perspective
        ends = scene.points[corners]
        towards = unit((_TOWARDS * _DISTANCE).astype(np.float32) - _mixed(weights, ends))
        straight = unit(np.cross(ends[:, 1] - ends[:, 0], ends[:, 2] - ends[:, 0]))
        straight *= np.where((straight * towards).sum(axis=1) < 0, -1, 1)[:, None]
        normal = unit(_mixed(weights, scene.corners[faces]))
        normal *= np.where((normal * straight).sum(axis=1) < 0, -1, 1)[:, None]
        albedo, alpha = self._colour(weights, corners, scene.piece[faces])
        self._albedo.append(albedo[alpha > 0.5][:: max(1, len(albedo) // 2048)])
        return self._shaded(albedo, normal, towards, scene.piece[faces]), alpha

    def _colour(self, weights: Floats, corners: NDArray[Any], piece: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return albedo and alpha of samples, by material, texture and the colours of points."""
        scene = self._scene
        colour = np.array([each.material.colour for each in scene.pieces], np.float32)[piece]
        if scene.colours is not None:
            colour = colour * _mixed(weights, scene.colours[corners])
        for number in np.unique(piece):
            material = scene.pieces[number].material
            own = np.flatnonzero(piece == number)
            if material.texture is not None and scene.places is not None:
                colour[own] *= _sampled(material.texture, _mixed(weights[own], scene.places[corners[own]]))
            if material.cutoff is not None:
                colour[own, 3] = colour[own, 3] >= material.cutoff
            elif not material.clear:
                colour[own, 3] = 1
        return colour[:, :3], np.clip(colour[:, 3], 0, 1)

    def _shaded(self, albedo: Floats, normal: Floats, towards: Floats, piece: NDArray[Any]) -> Floats:
        materials = [each.material for each in self._scene.pieces]
        metal = np.array([each.metallic for each in materials], np.float32)[piece, None]
        rough = np.clip(np.array([each.roughness for each in materials], np.float32)[piece, None], 0.15, 1)
        glow = np.array([each.glow for each in materials], np.float32)[piece]
        facing = np.clip((normal * towards).sum(axis=1, keepdims=True), 0, 1)
        key = np.clip((normal @ _KEY + 0.22) / 1.22, 0, 1)[:, None]
        fill = np.clip((normal @ _FILL + 0.4) / 1.4, 0, 1)[:, None]
        sky = _EARTH + (_SKY - _EARTH) * (0.5 + 0.5 * normal[:, 1:2])
        diffuse = albedo * (0.78 * key + 0.16 * fill + 0.52 * sky)
        shine = np.clip(normal @ unit(_KEY + _TOWARDS.astype(np.float32)), 0, 1)[:, None]
        shine = (1 - rough) ** 2 * shine ** (4 / rough**3) * 0.9
        mirrored = 2 * facing * normal - towards
        height = np.clip(mirrored[:, 1:2] * (1.6 - rough) + 0.5, 0, 1)
        height = height * height * (3 - 2 * height)
        around = 0.16 + 0.95 * height + 0.5 * np.clip(mirrored @ _KEY, 0, 1)[:, None] ** (2 / rough)
        rim = (1 - facing) ** 5 * (0.9 - 0.7 * rough)
        matt = diffuse + shine + rim * 0.35 * around
        metallic = (albedo + (1 - albedo) * rim) * around + shine
        light: Floats = matt + (metallic - matt) * metal + glow
        return light / (1 + 0.12 * light)  # highlights keep their form

    def _corners(self, buffer: raster.Buffer) -> Floats:
        """Return how much darker every pixel is for lying in a corner.

        Nearness is linear over a plane, so the mean of what is on two sides of a pixel differs from it only where
        the surface bends or steps.
        """
        view = self._view
        near = view.by_pixel(buffer.near)[:, 0].reshape(view.height, view.width)
        dark = np.zeros_like(near)
        for radius in (0.0035, 0.009, 0.02):
            length = max(2, round(radius * view.width))
            for angle in np.arange(6) * np.pi / 6 + radius * 40:
                across, down = round(length * np.cos(angle)), round(length * np.sin(angle))
                one, other = _shifted(near, across, down), _shifted(near, -across, -down)
                hollow = (one + other - 2 * near) * (_DISTANCE**2 / 2 / radius)
                hollow[(one == 0) | (other == 0) | (near == 0)] = 0
                # a long step is something in front, not a corner
                dark += np.clip(hollow * 0.11, 0, 0.07) * (hollow < 10)
        return np.clip(_blurred(dark, 2.0), 0, 0.6).reshape(-1)

    # --------------------------------------------------------------------------------------------- ground

    def _behind(self) -> Floats:
        """Return the ground that the model stands on, with its shadow, for all pixels."""
        view = self._view
        rows = np.linspace(0, 1, view.height, dtype=np.float32)[:, None, None]
        paper = np.broadcast_to(_PAPER[0] + (_PAPER[1] - _PAPER[0]) * rows, (view.height, view.width, 3))
        x = (np.arange(view.width) + 0.5 - view.offset[0])[None, :] / view.scale
        y = (np.arange(view.height) + 0.5 - view.offset[1])[:, None] / view.scale
        start = _TOWARDS * _DISTANCE
        down = x * _RIGHT[1] - y * _ABOVE[1] - _TOWARDS[1]
        far = np.where(down < -1e-3, (self._scene.ground - start[1]) / np.minimum(down, -1e-3), 1e6)
        across, deep = (start[axis] + far * (x * _RIGHT[axis] - y * _ABOVE[axis] - _TOWARDS[axis]) for axis in (0, 2))
        shadow = _looked_up(self._shadow(), across, deep)
        return (paper * (1 - shadow[:, :, None])).astype(np.float32).reshape(-1, 3)

    def _shadow(self) -> Floats:
        """Return how dark the ground is, as a map of it from above: darkest where the model touches it."""
        scene = self._scene
        at = ((scene.points[:, [0, 2]] / _REACH + 1) * _SHADOW / 2).astype(np.float32)
        height = scene.points[:, 1] - scene.ground
        buffer = raster.Buffer(_SHADOW, _SHADOW)
        raster.fill(buffer, at, (4 - height).astype(np.float32), scene.faces, np.arange(len(scene.faces)))
        lowest = np.where(buffer.face >= 0, 4 - buffer.near, np.inf).reshape(_SHADOW, _SHADOW)
        close = _blurred(np.exp(-18 * lowest).astype(np.float32), 2.5)
        around = _blurred(np.exp(-2.2 * lowest).astype(np.float32), 15)
        return np.clip(0.5 * close + 0.6 * around, 0, 0.8)


def _mixed(weights: Floats, values: Floats) -> Floats:
    """Return what three corners say, weighed: n × 3 and n × 3 × k → n × k."""
    mixed: Floats = (
        weights[:, 0, None] * values[:, 0] + weights[:, 1, None] * values[:, 1] + weights[:, 2, None] * values[:, 2]
    )
    return mixed


def _sampled(texture: NDArray[np.uint8], places: Floats) -> Floats:
    """Return a texture's linear colours between its pixels; it repeats beyond its edges."""
    height, width = texture.shape[:2]
    x, y = places[:, 0] * width - 0.5, places[:, 1] * height - 0.5
    left, top = np.floor(x), np.floor(y)
    right, below = (x - left)[:, None], (y - top)[:, None]
    columns = np.stack([left, left + 1]).astype(np.int64) % width
    rows = np.stack([top, top + 1]).astype(np.int64) % height
    upper = texture[rows[0], columns[0]] * (1 - right) + texture[rows[0], columns[1]] * right
    lower = texture[rows[1], columns[0]] * (1 - right) + texture[rows[1], columns[1]] * right
    mixed = ((upper * (1 - below) + lower * below) / 255).astype(np.float32)
    return np.concatenate([linear(mixed[:, :3]), mixed[:, 3:]], axis=1)


def _shifted(field: Floats, across: int, down: int) -> Floats:
    """Return a field moved by whole pixels; zero where nothing comes from."""
    moved = np.zeros_like(field)
    height, width = field.shape
    moved[max(down, 0) : height + min(down, 0), max(across, 0) : width + min(across, 0)] = field[
        max(-down, 0) : height + min(-down, 0), max(-across, 0) : width + min(-across, 0)
    ]
    return moved


def _blurred(field: Floats, radius: float) -> Floats:
    height, width = field.shape
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(field).tobytes(), width, height, 1, "float")
    shrink = max(1, int(radius // 4))  # a wide blur of a smaller picture is the same
    small = image.shrink(shrink, shrink) if shrink > 1 else image
    small = small.gaussblur(max(radius / shrink, 0.5), precision="float")
    if shrink > 1:
        small = small.resize(width / small.width, vscale=height / small.height, kernel="linear")
    return np.ndarray(buffer=small.cast("float").write_to_memory(), dtype=np.float32, shape=field.shape)


def _looked_up(field: Floats, x: NDArray[Any], z: NDArray[Any]) -> Floats:
    """Return the map's values at places of the ground; nothing beyond it."""
    side = field.shape[0]
    column, row = (x / _REACH + 1) * side / 2 - 0.5, (z / _REACH + 1) * side / 2 - 0.5
    inside = (column > 0) & (column < side - 1.001) & (row > 0) & (row < side - 1.001)
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    left, top = column.astype(np.int64), row.astype(np.int64)
    right, below = column - left, row - top
    found = (field[top, left] * (1 - right) + field[top, left + 1] * right) * (1 - below)
    found += (field[top + 1, left] * (1 - right) + field[top + 1, left + 1] * right) * below
    return np.where(inside, found, 0).astype(np.float32)
