"""Sound: how loud it is, what it looks like, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import av
import numpy as np
import pyvips
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from dam.ingest.media import chromaprint
from dam.ingest.media.chain import Chain

#: Samples of the thin sound (one channel at the fingerprint's rate) in a block, of which the extremes are kept.
BLOCK = 105
#: Most columns of a waveform.
COLUMNS = 1800
#: Sound that is nowhere louder than this is silence; in dB of full scale.
SILENCE = -60.0
#: What the fingerprint's reference implementation resamples with, so that the same items come out.
_RESAMPLE = f"{chromaprint.RATE}:filter_size=16:phase_shift=8:linear_interp=1:cutoff=0.8"
_INK, _PAPER = (37, 88, 196), (245, 246, 248)


class Sound:
    """What is learnt of a sound while it goes by; of hours of it, some megabytes are kept."""

    def __init__(self) -> None:
        self._thin = Chain([("aresample", _RESAMPLE), ("aformat", "sample_fmts=s16:channel_layouts=mono")])
        self._meter: Chain | None = Chain([("ebur128", "metadata=1:peak=sample:framelog=quiet")])
        self._measured: dict[str, str] = {}
        self._first: list[NDArray[np.int16]] = []
        self._room = chromaprint.SECONDS * chromaprint.RATE
        self._rest = np.zeros(0, np.int16)
        self._low: list[NDArray[np.int16]] = []
        self._high: list[NDArray[np.int16]] = []

    def take(self, frame: AudioFrame) -> None:
        """Listen to a frame."""
        for thin in self._thin.push(frame):
            self._keep(thin)
        if self._meter is not None:
            try:
                self._note(self._meter.push(frame))
            except (av.error.FFmpegError, ValueError):
                self._meter = None  # channels that loudness is not defined for

    def end(self) -> None:
        """There is no more."""
        for thin in self._thin.end():
            self._keep(thin)
        if self._meter is not None:
            self._note(self._meter.end())

    def _note(self, frames: list[AudioFrame]) -> None:
        for frame in frames:  # the last one, cut short, is not measured
            self._measured = frame.metadata or self._measured

    def _keep(self, frame: AudioFrame) -> None:
        samples = np.asarray(frame.to_ndarray()[0], np.int16)
        if self._room > 0:
            self._first.append(samples[: self._room].copy())
            self._room -= len(samples)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // BLOCK * BLOCK
        blocks = samples[:whole].reshape(-1, BLOCK)
        self._rest = samples[whole:].copy()
        if len(blocks):
            self._low.append(blocks.min(axis=1))
            self._high.append(blocks.max(axis=1))

    @property
    def loudness(self) -> dict[str, float]:
        """Integrated loudness in LUFS and its range in LU (EBU R 128, ITU-R BS.1770), sample peak in dBFS."""
        told = {"lufs": "lavfi.r128.I", "range_lu": "lavfi.r128.LRA", "peak_dbfs": "lavfi.r128.sample_peak"}
        found = {name: float(self._measured[key]) for name, key in told.items() if key in self._measured}
        if "peak_dbfs" in found:
            found["peak_dbfs"] = 20 * float(np.log10(max(found["peak_dbfs"], 1e-6)))
        if found.get("lufs", 0.0) <= -70:  # below the gate: nothing was measured
            del found["lufs"]
        return {name: round(value, 1) for name, value in found.items()}

    @property
    def is_silent(self) -> bool:
        """Whether nothing can be heard."""
        low, high = self._extremes()
        loudest = max(int(high.max(initial=0)), -int(low.min(initial=0)))
        return loudest <= 32768 * 10 ** (SILENCE / 20)

    def fingerprint(self) -> str | None:
        """Return the compressed fingerprint; None of silence, and of what is too short."""
        if self.is_silent:
            return None
        items = chromaprint.fingerprint(np.concatenate(self._first))
        return chromaprint.encode(items) if len(items) else None

    def peaks(self) -> bytes:
        """Return the waveform as JSON: least and greatest value by turns, 8 bit, as the BBC's audiowaveform has it."""
        low, high = self._columns(COLUMNS)
        pairs = np.stack([low, high], axis=1).reshape(-1) >> 8
        each = max(1, -(-sum(map(len, self._low)) // COLUMNS))
        told = {
            "version": 2, "channels": 1, "sample_rate": chromaprint.RATE, "bits": 8,
            "samples_per_pixel": BLOCK * each, "length": len(low), "data": pairs.tolist(),
        }  # fmt: skip
        return json.dumps(told, separators=(",", ":")).encode()

    def picture(self, width: int, height: int) -> Any:
        """Return the waveform as a libvips image."""
        least, greatest = self._columns(width)
        places = np.arange(len(least)) * width / len(least)
        low, high = (np.interp(np.arange(width), places, ends) for ends in (least, greatest))
        middle = height / 2
        rows = np.arange(height)[:, None]
        top, bottom = middle - high / 32768 * middle, middle - low / 32768 * middle
        inked = (rows >= np.floor(np.minimum(top, middle - 1))) & (rows < np.ceil(np.maximum(bottom, middle + 1)))
        pixels = np.where(inked[:, :, None], np.array(_INK, np.uint8), np.array(_PAPER, np.uint8))
        return pyvips.Image.new_from_memory(pixels.tobytes(), width, height, 3, "uchar").copy(interpretation="srgb")

    def _extremes(self) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        none = [np.zeros(0, np.int16)]
        return np.concatenate(self._low or none), np.concatenate(self._high or none)

    def _columns(self, most: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Return least and greatest values of at most so many columns, each of as many blocks."""
        low, high = self._extremes()
        if not len(low):
            return np.zeros(1, np.int16), np.zeros(1, np.int16)
        starts = np.arange(0, len(low), -(-len(low) // most))
        return np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)


class Digest:
    """The checksum over the samples of a FLAC file, as its encoder wrote it into the head (RFC 9639, 8.2)."""

    def __init__(self, bits: int, wanted: str) -> None:
        self._bits, self._wanted = bits, wanted
        self._md5 = hashlib.md5(usedforsecurity=False)

    def take(self, frame: AudioFrame) -> None:
        """Add a frame's samples: signed, in as many whole bytes as they need, the lowest first."""
        samples = np.ascontiguousarray(frame.to_ndarray()).reshape(-1)
        width = samples.dtype.itemsize
        wide = np.right_shift(samples, 8 * width - self._bits).astype(f"<i{width}")
        used = -(-self._bits // 8)
        self._md5.update(np.ascontiguousarray(wide.view(np.uint8).reshape(-1, width)[:, :used]).tobytes())

    @property
    def matches(self) -> bool:
        """Whether the sound is bit by bit what was encoded."""
        return self._md5.hexdigest() == self._wanted
