"""Proves that two pictures show the same pixels, by decoding both in full.

The hash of the pixels is a hint: a JPEG is hashed at the scale it is decoded at. Here every page is decoded at
full size, strip by strip, turned upright, and compared value by value. Two files with different colour profiles
must also look the same, since the same values mean other colours under another profile.

It runs in a process of its own, with a limit of memory and of time, as every decode of foreign bytes does.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dam.errors import DamError, Refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dam.services import Services

#: Rows compared at a time.
STRIP = 256
#: How far two colours of 16 bits may differ under two profiles and still be one: a step of 8 bits.
_STEP = 257
_PATIENCE, _BYTES_A_SECOND = 60.0, 1_000_000
_GREY = ("b-w", "grey16")


def prove(services: Services, *, uris: tuple[str, str]) -> dict[str, Any]:
    """Decode two stored pictures in full and return what was compared.

    :param uris: where they are, ``store:key``.
    :returns: ``{"width", "height", "bands", "format", "pages"}``, of the upright picture.
    :raises Refused: they differ, or one can't be decoded here; says where or why.
    """
    from dam.ingest import sandbox

    (one, one_key), (other, other_key) = (services.storage.resolve(uri) for uri in uris)
    with one.local(one_key) as first, other.local(other_key) as second, sandbox.scratch() as scratch:
        seconds = _PATIENCE + (first.stat().st_size + second.stat().st_size) / _BYTES_A_SECOND
        told = _ask([str(first), str(second), str(scratch), str(services.taxonomy.limits.decoder_bytes)], seconds)
    if problem := told.get("problem"):
        raise Refused(
            f"they can't be merged: {problem}",
            where=" and ".join(uris),
            remedy="Keep both, or say that they are not duplicates.",
        )
    return told


def _ask(arguments: list[str], seconds: float) -> dict[str, Any]:
    plugins = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [plugins, os.environ.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dam.ingest.compare", *arguments],
            env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"problem": f"comparing them took longer than {seconds:.0f} seconds."}
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"problem": "the decoder gave up on one of them."}


# -------------------------------------------------------------------------------------- the other side


def compare(one: Path, other: Path, scratch: Path) -> dict[str, Any]:
    """Compare two pictures; see :func:`prove`. Where they differ, ``problem`` says how, in plain words.

    :param scratch: an empty folder for a picture that has to be turned.
    """
    import pyvips

    from dam.renditions import pictures

    try:
        pages = [_pages(pictures.open_picture(path)) for path in (one, other)]
        if pages[0] != pages[1]:
            return {"problem": f"one has {pages[0]} pages, the other {pages[1]}."}
        told: dict[str, Any] = {}
        for page in range(pages[0]):
            pair = tuple(_upright(path, page, scratch) for path in (one, other))
            if problem := _shapes(*pair) or _values(*pair):
                on_page = f" (page {page + 1})" if pages[0] > 1 else ""
                return {"problem": f"{problem}{on_page}."}
            told = told or {name: getattr(pair[0], name) for name in ("width", "height", "bands", "format")}
        return told | {"pages": pages[0]}
    except (pyvips.Error, DamError, MemoryError) as error:
        lines = str(error).strip().splitlines() or ["no detail"]
        return {"problem": f"one of them can't be decoded in full here ({lines[-1]})."}


def _pages(image: Any) -> int:
    return int(image.get("n-pages")) if image.get_typeof("n-pages") else 1


def _upright(path: Path, page: int, scratch: Path) -> Any:
    """Return a page turned upright; one that has to be turned goes through a file, so that memory stays small."""
    import pyvips

    from dam.renditions import pictures

    image = pictures.open_picture(path, fail_on="warning", page=page)
    if not image.get_typeof("orientation") or image.get("orientation") <= 1:
        return image
    turned = scratch / f"{len(list(scratch.iterdir()))}.v"
    image.write_to_file(str(turned))
    return pyvips.Image.new_from_file(str(turned)).autorot()


def _shapes(one: Any, other: Any) -> str:
    """Say how two pictures differ before any pixel is read; empty when they don't."""
    if (one.width, one.height) != (other.width, other.height):
        return f"one is {one.width} × {one.height} pixels, the other {other.width} × {other.height}"
    if one.format != other.format:
        return f"their depth differs: {one.format} and {other.format} for each value"
    if one.interpretation != other.interpretation:
        return f"their colour space differs: {one.interpretation} and {other.interpretation}"
    if one.bands != other.bands:
        return f"one has {one.bands} channels, the other {other.bands}: transparency counts as one"
    return ""


def _values(one: Any, other: Any) -> str:
    """Say where two pictures of one shape differ; empty when they don't."""
    import numpy as np

    same_profile = _profile(one) == _profile(other)
    for top, (first, second) in _strips(one, other):
        if first.write_to_memory() != second.write_to_memory():
            return f"their pixels differ, the first time between row {top} and row {top + first.height - 1}"
        if not same_profile and np.abs(_colours(first) - _colours(second)).max() > _STEP:
            return "their values are the same but mean other colours: their colour profiles differ"
    return ""


def _profile(image: Any) -> bytes:
    return bytes(image.get("icc-profile-data")) if image.get_typeof("icc-profile-data") else b""


def _strips(one: Any, other: Any) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Yield the top row and the same strip of two pictures, from top to bottom."""
    import pyvips

    regions = [(image, pyvips.Region.new(image)) for image in (one, other)]
    for top in range(0, one.height, STRIP):
        height = min(STRIP, one.height - top)
        parts = []
        for image, region in regions:
            data = region.fetch(0, top, image.width, height)
            part = pyvips.Image.new_from_memory(data, image.width, height, image.bands, image.format)
            part = part.copy(interpretation=image.interpretation)
            if profile := _profile(image):
                part.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
            parts.append(part)
        yield top, (parts[0], parts[1])


def _colours(part: Any) -> NDArray[np.int64]:
    """Return a strip's colours in sRGB, 16 bits; without a profile, values mean sRGB (CMYK: a usual press)."""
    import numpy as np

    if not part.get_typeof("icc-profile-data") and part.interpretation in _GREY:
        seen = part.colourspace("rgb16")
    else:
        fallback = "cmyk" if part.interpretation == "cmyk" else "srgb"
        seen = part.icc_transform("srgb", embedded=True, input_profile=fallback, depth=16)
    colours: NDArray[np.int64] = seen.numpy().astype(np.int64)
    return colours


def _main(one: str, other: str, scratch: str, memory_bytes: str) -> None:
    import pyvips  # noqa: F401 - its threads and libraries count as idle

    idle = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (idle + int(memory_bytes) + (2 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write(json.dumps(compare(Path(one), Path(other), Path(scratch))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
