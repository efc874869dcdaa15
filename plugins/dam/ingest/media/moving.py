"""Moving pictures: upright small frames of them, and what stands for the whole film.

Key frames stand evenly; cuts are the first frames of new shots, which are the same ones wherever a film begins.

Everything is chosen while the film goes by, without knowing how long it is: what is kept evenly is thinned when
it grows too much, and of the frames that could be the poster only the best is held.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any, Generic, TypeVar

import numpy as np
import pyvips
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dam.ingest.media.chain import Chain, Filter
from dam.ingest.media.sequences import BLANK
from dam.ingest.pixels import perceptual_hash

#: Longest side of the small frames that proxies are made of, in pixels.
SIDE = 640
#: Longest side of a frame of the storyboard.
TILE = 240
#: Frames of a storyboard, and how many stand in a row.
FRAMES, COLUMNS = 25, 5
#: Key frames of a film, at most; and cuts.
KEY_FRAMES = 256
#: Frames a second of a proxy, at most.
RATE = 30
_UNTOLD = 2  # a colour matrix that isn't told (ITU-T H.273)
_FIRST_STEP = 0.25  # seconds between key frames of short films

T = TypeVar("T")


class Thinned(Generic[T]):
    """Keeps things evenly over a time that nobody knows yet: when there are too many, every other one goes.

    The distance between them is always ``step`` times a power of two, counted from the start, so that what is
    kept of a long film is a part of what would be kept of its beginning.
    """

    def __init__(self, most: int, step: float) -> None:
        self.kept: list[tuple[float, T]] = []
        self.step = step
        self._most = most
        self._due = 0.0

    def wants(self, seconds: float) -> bool:
        """Tell whether something of this moment would be kept."""
        return seconds >= self._due - 1e-6

    def add(self, seconds: float, thing: T) -> None:
        """Keep something of a moment that is wanted."""
        self.kept.append((seconds, thing))
        while len(self.kept) > self._most:
            self.step *= 2
            slots: dict[int, tuple[float, T]] = {}
            for kept in self.kept:
                slots.setdefault(self._slot(kept[0]), kept)
            self.kept = list(slots.values())
        self._due = (self._slot(seconds) + 1) * self.step

    def _slot(self, seconds: float) -> int:
        return floor(seconds / self.step + 1e-6)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a film is shown.

    :param width: of its upright picture with square pixels. :param height: likewise.
    :param turn: degrees clockwise by which it must be turned to be upright.
    :param interlaced: every frame is two moments, line by line.
    :param tones: the file of :mod:`dam.ingest.media.tones` for its colours; empty for ordinary ones.
    :param matrix: the colour matrix to take it for where it tells none, as players do; else empty.
    """

    width: int
    height: int
    turn: int = 0
    interlaced: bool = False
    tones: str = ""
    matrix: str = ""

    @classmethod
    def of(cls, stream: VideoStream, frame: VideoFrame, tones: str = "") -> Shape:
        """Return the shape that a stream's first frame tells."""
        width, height = frame.width, frame.height
        pixel = stream.codec_context.sample_aspect_ratio or Fraction(1)
        if 0 < pixel != 1:  # always stretched, never squeezed: no line is lost
            width, height = (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))
        turn = round(-frame.rotation / 90) % 4 * 90
        if turn in (90, 270):
            width, height = height, width
        matrix = "" if frame.colorspace != _UNTOLD or frame.height < 720 else "bt709"
        return cls(width, height, turn, frame.interlaced_frame, tones, matrix)

    def inside(self, side: int) -> tuple[int, int]:
        """Return the even size at which the picture fits into a square; never enlarged."""
        scale = min(1.0, side / max(self.width, self.height))
        return max(2, round(self.width * scale / 2) * 2), max(2, round(self.height * scale / 2) * 2)

    def filters(self, width: int, height: int, pixels: str) -> list[Filter]:
        """Return the filters that make a frame upright, so large, in the colours of every screen."""
        across, down = (height, width) if self.turn in (90, 270) else (width, height)
        scale = f"{across}:{down}:flags=bicubic"
        if self.matrix:
            scale += f":in_color_matrix={self.matrix}"
        screen = "" if pixels.startswith("rgb") else ":out_color_matrix=bt709:out_range=tv"
        mapped: list[Filter] = []
        if self.tones:
            path = re.sub(r"([\\':,;\[\]])", r"\\\1", self.tones)
            mapped = [
                ("format", "gbrp10le"), ("lut3d", path), ("setparams", "color_primaries=bt709:color_trc=bt709"),
                ("scale", screen[1:]),
            ]  # fmt: skip
        turned: dict[int, list[Filter]] = {
            90: [("transpose", "clock")],
            180: [("hflip", ""), ("vflip", "")],
            270: [("transpose", "cclock")],
        }
        return [
            *([("yadif", "deint=interlaced")] if self.interlaced else []),
            *([("scale", scale), *mapped] if mapped else [("scale", scale + screen)]),
            ("format", pixels),
            *turned.get(self.turn, []),
            ("setsar", "1"),
        ]

    def chain(self, width: int, height: int, pixels: str) -> Chain:
        """Return :meth:`filters` as a chain."""
        return Chain(self.filters(width, height, pixels))


class Gate:
    """Lets so many frames a second through, evenly; of 50 a second every other one."""

    def __init__(self, rate: Fraction | None) -> None:
        self._step = 0.0
        if rate and rate > RATE:
            self._step = float(-(-rate // RATE) / rate)
        elif not rate:
            self._step = 1 / RATE
        self._early = float(1 / rate) / 2 if rate else 0.0
        self._due = float("-inf")

    def opens(self, seconds: float) -> bool:
        """Tell whether the frame of this moment goes through."""
        if seconds < self._due - self._early:
            return False
        self._due = (seconds if seconds - self._due > self._step else self._due) + self._step
        return True


class Shots:
    """Tells where a new shot begins: much changes from one frame to the next, and much more than before."""

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._calm: float | None = None

    def begins(self, frame: VideoFrame) -> bool:
        """Tell whether a frame is the first one of another shot than the frame before; the very first is not."""
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        luma, last = rows[::8, : plane.width : 8].astype(np.int16), self._last
        self._last = luma
        if last is None:
            return False
        change = float(np.abs(luma - last).mean())
        calm = change if self._calm is None else self._calm
        self._calm = 0.8 * calm + 0.2 * change
        return change > max(_CUT, 2 * calm)


class Film:
    """What stands for a film: key frames, cuts, storyboard and poster, chosen from the frames that go by."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        #: Perceptual hashes of the first frames of shots, but for those that show nothing.
        self.cuts: list[int] = []
        self._shots = Shots()
        self._tile = shape.inside(TILE)
        self._hashes: Thinned[int] = Thinned(KEY_FRAMES, _FIRST_STEP)
        self._tiles: Thinned[NDArray[np.uint8]] = Thinned(2 * FRAMES, _FIRST_STEP)
        self._best: VideoFrame | None = None
        self._score = -1.0

    def take(self, full: VideoFrame, small: VideoFrame, seconds: float) -> None:
        """Look at a frame. :param full: as decoded. :param small: upright and small, ``yuv420p``."""
        cut, wanted = self._shots.begins(small) and len(self.cuts) < KEY_FRAMES, self._hashes.wants(seconds)
        if not cut and not wanted:
            return
        width, height = self._tile
        pixels = np.asarray(small.reformat(width=width, height=height, format="rgb24").to_ndarray(), np.uint8)
        grey = pixels @ np.array([0.299, 0.587, 0.114])
        value = perceptual_hash(pixels) if grey.std() >= _FLAT else BLANK
        if cut and value != BLANK:
            self.cuts.append(value)
        if not wanted:
            return
        self._hashes.add(seconds, value)
        if self._tiles.wants(seconds):
            self._tiles.add(seconds, pixels)
        if self._score < _GOOD:
            score = _score(grey)
            if score > self._score * _BETTER:
                self._best, self._score = full, score

    @property
    def key_frames(self) -> list[int]:
        """Perceptual hashes of frames that stand evenly."""
        return [value for _, value in self._hashes.kept]

    @property
    def key_frame_step(self) -> float:
        """Seconds from one key frame to the next."""
        return self._hashes.step

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to see in any key frame."""
        return all(value == BLANK for value in self.key_frames)

    def poster(self) -> Any:
        """Return the frame that shows best what the film is about, upright and of full size, as a libvips image."""
        assert self._best is not None
        width, height = self.shape.width, self.shape.height
        chain = self.shape.chain(width, height, "rgb24")
        frame = [*chain.push(self._best), *chain.end()][0]
        self._best = None
        data = np.ascontiguousarray(frame.to_ndarray())
        return pyvips.Image.new_from_memory(data.tobytes(), width, height, 3, "uchar").copy(interpretation="srgb")

    def storyboard(self) -> tuple[bytes, dict[str, Any]]:
        """Return a JPEG of frames that stand evenly, row by row, and what a player must know of it."""
        chosen = _evenly(self._tiles.kept, FRAMES)
        width, height = self._tile
        columns = min(COLUMNS, len(chosen))
        rows = -(-len(chosen) // columns)
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        for at, (_, pixels) in enumerate(chosen):
            top, left = at // columns * height, at % columns * width
            sheet[top : top + height, left : left + width] = pixels
        image = pyvips.Image.new_from_memory(sheet.tobytes(), columns * width, rows * height, 3, "uchar")
        told = {
            "columns": columns, "rows": rows, "tile_width": width, "tile_height": height,
            "seconds": [round(seconds, 3) for seconds, _ in chosen],
        }  # fmt: skip
        return bytes(image.copy(interpretation="srgb").jpegsave_buffer(Q=75, optimize_coding=True, keep="none")), told


_FLAT = 4.0  # of 255: below this spread of brightness there is nothing to see in a frame
_CUT = 12.0  # of 255: brightness changes by so much, on average, where a new shot begins
_GOOD = 1.0  # a poster of this score is taken without looking further
_BETTER = 1.25  # by how much a later frame must beat an earlier one


def _score(grey: NDArray[np.float64]) -> float:
    """Return how well a frame would do as a poster: bright enough, with contrast, sharp.

    1 and more is what an ordinary sharp frame reaches; titles on black, fades and blurs stay below.
    """
    contrast = float(grey.std()) / 40
    edges = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    sharp = float(edges) / 6
    seen = float(np.mean((grey > 24) & (grey < 240)))  # how much is neither black nor burnt out
    return min(contrast, 1.5) * min(sharp, 1.5) * min(1.0, 1.5 * seen)


def _evenly(things: Sequence[T], count: int) -> list[T]:
    """Return so many of ``things``, evenly from first to last; all when they are fewer."""
    if len(things) <= count:
        return list(things)
    return [things[round(at * (len(things) - 1) / (count - 1))] for at in range(count)]
