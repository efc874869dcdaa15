"""OBJ, STL and PLY: read by trimesh; what it passes over in silence is asked before.

Limits: an OBJ file names its materials and textures, which are other files; the shape alone is shown. One that is
cut off between two of its lines can't be told from a whole one, unless its faces refer to points that are missing.
"""

from __future__ import annotations

import io
import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.ingest.mesh import Material, Model, Piece, linear
from dam.ingest.mesh.gltf import too_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it tells of materials that are not there, as we do

_STL_HEAD, _STL_FACE = 84, 50
_NAMES = re.compile(rb"^(?:o|g|usemtl)[ \t]+([^\r\n]+)", re.MULTILINE)
_ELSEWHERE = re.compile(rb"^mtllib[ \t]+([^\r\n]+)", re.MULTILINE)
_PLY_NEEDS = re.compile(rb"^comment TextureFile[ \t]+([^\r\n]+)", re.MULTILINE)


def read(data: bytes, kind: str, model: Model, limits: dict[str, Any]) -> None:
    """Read a file into ``model``. :param kind: ``obj``, ``stl`` or ``ply``.

    :raises Unusable: it is cut off, contradicts itself, or is too large.
    """
    import trimesh

    if kind == "stl":
        _whole_stl(data, limits)
    elif kind == "obj":
        _whole_obj(data)
    options: dict[str, Any] = {"skip_materials": True} if kind == "obj" else {}
    loaded = trimesh.load(io.BytesIO(data), file_type=kind, process=False, **options)
    meshes = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    faces = 0
    for mesh in meshes:
        piece = _piece(mesh)
        if piece is not None:
            faces += len(piece.faces)
            if faces > int(limits["max_faces"]):
                raise too_many(faces, limits)
            model.pieces.append(piece)
    if not model.pieces:
        raise Unusable("The model is empty: there is no shape in it.", remedy=AGAIN)
    model.up = {"obj": "y", "stl": "z"}.get(kind) or _stands_on(model)
    model.technical |= {"meshes": len(model.pieces), "unit": "not told"}
    _say(data, kind, model)


def _whole_stl(data: bytes, limits: dict[str, Any]) -> None:
    """Find an STL that is cut off: binary by its count, text by its end."""
    count = int.from_bytes(data[80:84], "little")
    expected = _STL_HEAD + _STL_FACE * count
    if len(data) >= _STL_HEAD and expected == len(data):
        if count > int(limits["max_faces"]):
            raise too_many(count, limits)
    elif data[:512].lstrip()[:5].lower() == b"solid" and b"\0" not in data[:512]:
        if not re.search(rb"endsolid[^\r\n]*\s*\Z", data[-512:], re.IGNORECASE):
            raise Unusable("The model is cut off: its end mark is missing.", remedy=AGAIN)
    elif len(data) < expected:
        raise Unusable(f"The model is cut off after {100 * len(data) // expected} %.", remedy=AGAIN)


def _whole_obj(data: bytes) -> None:
    """Find faces whose points are missing, and bytes that are no text."""
    if b"\0" in data:
        raise ValueError("there are bytes in it that are no text")
    points = len(re.findall(rb"^[ \t]*v[ \t]", data, re.MULTILINE))
    named = re.findall(rb"^[ \t]*f[ \t]+([^\r\n#]+)", re.sub(rb"\\\r?\n", b" ", data), re.MULTILINE)
    highest = 0
    for start in range(0, len(named), 100_000):
        words = b" ".join(named[start : start + 100_000]).split()
        numbers = np.array([int(word.partition(b"/")[0]) for word in words], dtype=np.int64)
        highest = max(highest, int(np.abs(numbers).max()) if len(numbers) else 0)
    if highest > points:
        raise ValueError(f"its faces refer to point {highest:,} of {points:,}")


def _stands_on(model: Model) -> str:
    """Tell which axis is up in a file whose makers disagree about it: the one whose lower end is the flatter."""
    points = np.concatenate([piece.points for piece in model.pieces])
    low, high = points.min(axis=0), points.max(axis=0)
    lowest = (points <= low + 0.02 * (high - low)).mean(axis=0)
    return "z" if lowest[2] > 1.2 * lowest[1] else "y"


def _piece(mesh: Any) -> Piece | None:
    """Return trimesh's mesh or cloud of points as a piece."""
    points = np.asarray(getattr(mesh, "vertices", np.zeros((0, 3))), dtype=np.float32)
    faces = np.asarray(getattr(mesh, "faces", np.zeros((0, 3))), dtype=np.int32).reshape(-1, 3)
    if not len(points) or points.shape[1] != 3:
        return None
    if not np.isfinite(points).all():
        raise ValueError("it has points that are nowhere")
    if len(faces) and not 0 <= faces.min() <= faces.max() < len(points):
        raise ValueError(f"its faces refer to point {faces.max():,} of {len(points):,}")
    points, faces, colours = _coloured(mesh, points, faces)
    return Piece(points, faces, colours=colours, material=Material() if colours is None else Material((1, 1, 1, 1)))


def _coloured(mesh: Any, points: NDArray[Any], faces: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], Any]:
    """Return points, faces and colours of points; a face's own colour needs points of its own."""
    visual: Any = getattr(mesh, "visual", None)
    kind = getattr(visual, "kind", None)
    if kind == "face" and len(faces):
        colours = np.repeat(np.asarray(visual.face_colors), 3, axis=0)
        points, faces = points[faces].reshape(-1, 3), np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
    elif kind == "vertex":
        colours = np.asarray(visual.vertex_colors)
    elif getattr(mesh, "colors", None) is not None and len(mesh.colors) == len(points):
        colours = np.asarray(mesh.colors)
    else:
        return points, faces, None
    if len(colours) != len(points) or colours.shape[1] < 3:
        return points, faces, None
    share = colours[:, :3] / (255 if colours.dtype == np.uint8 else max(1.0, float(colours.max())))
    return points, faces, np.hstack([linear(share), np.ones((len(points), 1), np.float32)])


def _say(data: bytes, kind: str, model: Model) -> None:
    head = data[:65536]
    needed = [_text(name) for name in (_ELSEWHERE if kind == "obj" else _PLY_NEEDS).findall(head) if kind != "stl"]
    if needed:
        names = ", ".join(dict.fromkeys(needed))
        model.notes.append(f"Its materials are in files that are not inside it ({names}): the shape alone is shown.")
    if kind == "obj":
        model.words += list(dict.fromkeys(_text(name) for name in _NAMES.findall(data)))[:500]
        comments = re.findall(rb"^#[ \t]*([^\r\n]*[^\r\n \t#][^\r\n]*)", head[:2000], re.MULTILINE)
    elif kind == "ply":
        comments = re.findall(rb"^comment[ \t]+([^\r\n]+)", head.partition(b"end_header")[0], re.MULTILINE)
    else:
        title = head[:80].split(b"\0")[0] if head[:5].lower() != b"solid" else head[5:].split(b"\n")[0]
        comments = [title.strip()]
    lines = [_text(line) for line in comments if line.strip()]
    if lines:
        model.embedded["Model.comment"] = "\n".join(lines[:20])


def _text(raw: bytes) -> str:
    return raw.strip().decode("utf-8", "replace")
