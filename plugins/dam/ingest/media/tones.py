"""High dynamic range on screens that have none: a table of colours, made once, that a filter looks up.

Light above what paper-white is (203 cd/m², ITU-R BT.2408) is rolled off by the curve of ITU-R BT.2390, so that
clouds keep their shape and faces their brightness; colours of BT.2020 that BT.709 lacks are cut.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Colour transfers of high dynamic range (ITU-T H.273).
PQ, HLG = 16, 18
_POINTS = 33
_WHITE, _PEAK = 203.0, 1000.0  # cd/m²
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


def write(path: Path, transfer: int) -> None:
    """Write the table as a ``.cube`` file. :param transfer: ``PQ`` or ``HLG``."""
    axis = np.linspace(0, 1, _POINTS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    table = shown(np.stack([red, green, blue], axis=-1).reshape(-1, 3), transfer)
    lines = [f"LUT_3D_SIZE {_POINTS}", *(f"{r:.5f} {g:.5f} {b:.5f}" for r, g, b in table.tolist())]
    path.write_text("\n".join(lines) + "\n")


def shown(signal: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Return the BT.709 signal that stands for a BT.2020 one. :param signal: rows of red, green, blue in 0…1."""
    light = np.maximum((_pq_light if transfer == PQ else _hlg_light)(signal) @ _TO_709.T, 0)
    brightest = light.max(axis=1, keepdims=True)
    rolled = _rolled_off(brightest)
    light *= np.divide(rolled, brightest, out=np.zeros_like(rolled), where=brightest > 1e-6)
    curve: NDArray[np.float64] = np.clip(light / _WHITE, 0, 1) ** (1 / 2.4)
    return curve


def _pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cd/m² (SMPTE ST 2084)."""
    power = signal ** (1 / _M2)
    light: NDArray[np.float64] = 10_000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return light


def _pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    power = (np.asarray(light) / 10_000) ** _M1
    signal: NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def _hlg_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cd/m² on a display of 1,000 (ITU-R BT.2100)."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luminance = scene @ np.array([0.2627, 0.678, 0.0593])
    light: NDArray[np.float64] = _PEAK * scene * luminance[:, None] ** 0.2
    return light


def _rolled_off(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring light up to the mastering peak down to paper-white, by BT.2390's spline over the perceptual signal."""
    peak = float(_pq_signal(np.array(_PEAK)))
    most = float(_pq_signal(np.array(_WHITE))) / peak
    signal = np.minimum(_pq_signal(light) / peak, 1)
    knee = 1.5 * most - 0.5
    part = np.clip((signal - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * part**3 - 3 * part**2 + 1) * knee
        + (part**3 - 2 * part**2 + part) * (1 - knee)
        + (-2 * part**3 + 3 * part**2) * most
    )
    return _pq_light(np.where(signal < knee, signal, spline) * peak)
