"""USDZ (Pixar's specification 1.3): a container of a scene and its textures.

No library reads the scene that weighs little enough to be asked for here, so the container is proved, its textures
are decoded, and people see these.
"""

from __future__ import annotations

import re
import zipfile
from typing import Any

from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.ingest.mesh import Model, textures
from dam.ingest.packed import Packed

_SCENES = (".usdc", ".usda", ".usd")
_PICTURES = (".png", ".jpg", ".jpeg", ".exr", ".avif", ".webp")
_ALIGNED = 64
#: Heads of scenes in binary and in text.
_BINARY, _TEXT = b"PXR-USDC", b"#usda"


def read(packed: Packed, model: Model, limits: dict[str, Any]) -> None:
    """Prove a container and decode its textures. :raises Unusable: a part is damaged, or the scene is missing."""
    for name in packed.names:
        packed.prove(name)
    first = packed.names[0] if packed.names else ""
    if not first.lower().endswith(_SCENES):
        raise Unusable("The model does not begin with its scene.", remedy="Ask for one that was exported as USDZ.")
    scene = packed.read(first)
    if not scene.startswith((_BINARY, _TEXT)):
        raise Unusable(f"The model's scene {first} is damaged: it does not begin as one.", remedy=AGAIN)
    if scene.startswith(_BINARY) and int.from_bytes(scene[16:24], "little") >= len(scene):
        raise Unusable(f"The model's scene {first} is cut off: its table of contents is missing.", remedy=AGAIN)
    _plain(packed, model)
    names = [name for name in packed.names if name.lower().endswith(_PICTURES)]
    for name in names:
        picture = textures.decode(model.notes, name, packed.read(name), float(limits["max_megapixels"]))
        if picture is not None:
            model.textures.append(picture)
    model.technical |= {"parts": packed.names[:200], "textures": len(names), "scene": first}
    if scene.startswith(_TEXT):
        model.technical |= _said(scene)
    model.notes.append("Its shape is not shown, as nothing here reads USD scenes.")


def _plain(packed: Packed, model: Model) -> None:
    """Note what phones refuse to open: parts that are packed, or don't begin at a multiple of 64 bytes."""
    wrong = [info for info in packed.infos.values() if info.compress_type != zipfile.ZIP_STORED]
    if wrong:
        model.notes.append("Its parts are packed, which the format forbids: viewers on phones may refuse it.")
        return
    # a part's data begin behind its name and extra field; the latter is there to align it
    shifted = [
        info for info in packed.infos.values()
        if (info.header_offset + 30 + len(info.filename.encode()) + len(info.extra)) % _ALIGNED
    ]  # fmt: skip
    if shifted:
        model.notes.append("Its parts are not aligned to 64 bytes: viewers on phones may refuse it.")


def _said(scene: bytes) -> dict[str, Any]:
    """Return what a scene in text says of itself in its head."""
    head = scene[:4096].decode("utf-8", "replace")
    unit = re.search(r"metersPerUnit\s*=\s*([\d.eE+-]+)", head)
    up = re.search(r'upAxis\s*=\s*"([YZ])"', head)
    return {"metres_per_unit": float(unit[1]) if unit else 0.01, "up": up[1].lower() if up else "y"}
