"""Fingerprints of sound that are those of Chromaprint (algorithm 1, "test 2"), as AcoustID and ``fpcalc`` use them.

Chromaprint is published with its parameters (Lukáš Lalinský, acoustid.org/chromaprint), but as a library that
must be installed with the system. Here its steps are in numpy: sound at 11,025 Hz becomes overlapping power
spectra; their energy is summed by the twelve notes of the scale; smoothed over five frames and normalised, these
rows form a picture of the music; sixteen differences of rectangles in it, each quantised to two bits, make an
item of 32 bits for every eighth of a second.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from dam.errors import BadInput
from dam.ingest.media import sequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples a second that :func:`fingerprint` takes.
RATE = 11025
#: Only so many seconds from the start are fingerprinted, as ``fpcalc`` does.
SECONDS = 120
#: Which set of classifiers an encoded fingerprint says it was made with.
ALGORITHM = 1
#: The item of a moment at which there is nothing to hear.
SILENT = 627964279

_FRAME, _STEP = 4096, 1365
_LOWEST, _HIGHEST = 28, 3520  # Hz
_NOTES = 12
_A0 = 440 / 16  # Hz; octaves are counted from here
_SMOOTH = (0.25, 0.75, 1.0, 0.75, 0.25)
_QUIET = 0.01
_WIDEST = 16
_GRAY = np.array([0, 1, 3, 2], np.uint32)
#: Sixteen classifiers: kind of rectangle difference, lowest note, notes, frames; then what its values are cut at.
_CLASSIFIERS = (
    (0, 4, 3, 15, (1.98215, 2.35817, 2.63523)),
    (4, 4, 6, 15, (-1.03809, -0.651211, -0.282167)),
    (1, 0, 4, 16, (-0.298702, 0.119262, 0.558497)),
    (3, 8, 2, 12, (-0.105439, 0.0153946, 0.135898)),
    (3, 4, 4, 8, (-0.142891, 0.0258736, 0.200632)),
    (4, 0, 3, 5, (-0.826319, -0.590612, -0.368214)),
    (1, 2, 2, 9, (-0.557409, -0.233035, 0.0534525)),
    (2, 7, 3, 4, (-0.0646826, 0.00620476, 0.0784847)),
    (2, 6, 2, 16, (-0.192387, -0.029699, 0.215855)),
    (2, 1, 3, 2, (-0.0397818, -0.00568076, 0.0292026)),
    (5, 10, 1, 15, (-0.53823, -0.369934, -0.190235)),
    (3, 6, 2, 10, (-0.124877, 0.0296483, 0.139239)),
    (2, 1, 1, 14, (-0.101475, 0.0225617, 0.231971)),
    (3, 5, 6, 4, (-0.0799915, -0.00729616, 0.063262)),
    (1, 9, 2, 12, (-0.272556, 0.019424, 0.302559)),
    (3, 4, 2, 14, (-0.164292, -0.0321188, 0.0846339)),
)


def fingerprint(samples: NDArray[np.int16]) -> NDArray[np.uint32]:
    """Return the items of a sound's fingerprint, eight a second; none when it is shorter than 2.8 seconds.

    :param samples: one channel at :data:`RATE`, from the start. What is beyond :data:`SECONDS` is left out.
    """
    rows = _normalised(_smoothed(_chroma(samples[: SECONDS * RATE])))
    count = len(rows) - _WIDEST + 1
    if count < 1:
        return np.zeros(0, np.uint32)
    area = np.zeros((len(rows) + 1, _NOTES + 1))
    area[1:, 1:] = rows.cumsum(axis=0).cumsum(axis=1)
    items = np.zeros(count, np.uint32)
    for kind, note, notes, frames, cuts in _CLASSIFIERS:
        plus, minus = _rectangles(area, count, kind, note, notes, frames)
        level = np.searchsorted(cuts, np.log((1 + plus) / (1 + minus)), side="right")
        items = (items << np.uint32(2)) | _GRAY[level]
    return items


def _chroma(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the energy of the twelve notes, a row a frame."""
    first = max(1, round(_FRAME * _LOWEST / RATE))
    last = min(_FRAME // 2, round(_FRAME * _HIGHEST / RATE))
    octaves = np.log2(np.arange(first, last) * (RATE / _FRAME) / _A0)
    to_note = np.zeros((last - first, _NOTES))
    to_note[np.arange(last - first), (_NOTES * (octaves - np.floor(octaves))).astype(int)] = 1
    if len(samples) < _FRAME:
        return np.zeros((0, _NOTES))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_STEP]
    window = np.hamming(_FRAME) / np.iinfo(np.int16).max
    rows = np.empty((len(frames), _NOTES))
    for at in range(0, len(frames), 64):
        spectrum = np.fft.rfft(frames[at : at + 64] * window, axis=1)[:, first:last]
        rows[at : at + 64] = (spectrum.real**2 + spectrum.imag**2) @ to_note
    return rows


def _smoothed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    count = max(0, len(rows) - len(_SMOOTH) + 1)
    smooth = np.zeros((count, _NOTES))
    for at, weight in enumerate(_SMOOTH):
        smooth += weight * rows[at : at + count]
    return smooth


def _normalised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    normal: NDArray[np.float64] = np.divide(rows, length, out=np.zeros_like(rows), where=length >= _QUIET)
    return normal


def _rectangles(
    area: NDArray[np.float64], count: int, kind: int, note: int, notes: int, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for every item the sum over the light and the dark rectangles of a classifier.

    :param area: the picture's integral image, frames × notes. :param count: how many items.
    """

    def total(from_frame: int, from_note: int, to_frame: int, to_note: int) -> NDArray[np.float64]:
        left, right = area[from_frame : from_frame + count], area[to_frame : to_frame + count]
        low, high = note + from_note, note + to_note
        return right[:, high] - left[:, high] - right[:, low] + left[:, low]

    across, up = frames // 2, notes // 2
    if kind == 0:  # the whole
        whole = total(0, 0, frames, notes)
        return whole, np.zeros_like(whole)
    if kind == 1:  # higher notes against lower ones
        return total(0, up, frames, notes), total(0, 0, frames, up)
    if kind == 2:  # later against earlier
        return total(across, 0, frames, notes), total(0, 0, across, notes)
    if kind == 3:  # crosswise
        return (
            total(0, up, across, notes) + total(across, 0, frames, up),
            total(0, 0, across, up) + total(across, up, frames, notes),
        )
    if kind == 4:  # the middle notes against those above and below
        third = notes // 3
        return (
            total(0, third, frames, 2 * third),
            total(0, 0, frames, third) + total(0, 2 * third, frames, notes),
        )
    third = frames // 3  # the middle of the time against before and after
    return total(third, 0, 2 * third, notes), total(0, 0, third, notes) + total(2 * third, 0, frames, notes)


# ----------------------------------------------------------------------------------------------- as text

_SMALL, _LARGE = 3, 5  # bits of a distance between set bits, and of what is beyond the largest small one
_MOST = (1 << _SMALL) - 1


def encode(items: NDArray[np.uint32]) -> str:
    """Return a fingerprint as ``fpcalc`` prints it: distances of the bits that change, in base64."""
    small: list[int] = []
    large: list[int] = []
    last = 0
    for item in items.tolist():
        changed, last = item ^ last, item
        before = 0
        for bit in range(1, 33):
            if changed >> (bit - 1) & 1:
                small.append(min(bit - before, _MOST))
                if bit - before >= _MOST:
                    large.append(bit - before - _MOST)
                before = bit
        small.append(0)
    head = bytes([ALGORITHM]) + len(items).to_bytes(3, "big")
    data = head + _packed(small, _SMALL) + _packed(large, _LARGE)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: str) -> NDArray[np.uint32]:
    """Return the items of an encoded fingerprint. :raises BadInput: it is none."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise BadInput("This is no fingerprint of sound.", where=text[:20]) from error
    if len(data) < 4 or data[0] != ALGORITHM:
        raise BadInput("This is no fingerprint of sound that can be compared.", where=text[:20])
    count = int.from_bytes(data[1:4], "big")
    if not count:
        return np.zeros(0, np.uint32)
    small = _unpacked(data[4:], _SMALL)
    ends = np.flatnonzero(small == 0)[:count]
    if len(ends) < count:
        raise BadInput("The fingerprint is cut off.", where=text[:20])
    used = int(ends[-1]) + 1
    small = small[:used]
    wide = np.flatnonzero(small == _MOST)
    large = _unpacked(data[4 + -(-used * _SMALL // 8) :], _LARGE)[: len(wide)]
    if len(large) < len(wide):
        raise BadInput("The fingerprint is cut off.", where=text[:20])
    small[wide] += large
    begins = np.concatenate(([0], ends[:-1] + 1))
    bits = small.cumsum()
    bits -= np.repeat(bits[begins] - small[begins], ends + 1 - begins)  # counted within each item
    changed = np.where((small > 0) & (bits <= 32), 1 << np.clip(bits - 1, 0, 31), 0)
    return np.bitwise_xor.accumulate(np.add.reduceat(changed, begins).astype(np.uint32))


def _packed(values: list[int], bits: int) -> bytes:
    """Pack numbers of so many bits each, the lowest bit first."""
    one_by_one = (np.array(values, np.uint8)[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(one_by_one.reshape(-1).astype(np.uint8), bitorder="little").tobytes()


def _unpacked(data: bytes, bits: int) -> NDArray[np.int64]:
    one_by_one = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").astype(np.int64)
    count = len(one_by_one) // bits
    return np.asarray(one_by_one[: count * bits].reshape(count, bits) @ (1 << np.arange(bits)))


# ------------------------------------------------------------------------------------------------- alike


def similarity(one: str, other: str) -> float:
    """Return how alike two sounds are, by their encoded fingerprints: 1 the same recording, 0 unrelated.

    They may begin at different moments; where less than half of the shorter one overlaps, nothing is compared.
    Silence is not counted.
    Above 0.6 it is the same recording, encoded another way; below 0.3 another one.
    """
    return sequences.similarity(decode(one), decode(other), bits=32, blank=SILENT)
