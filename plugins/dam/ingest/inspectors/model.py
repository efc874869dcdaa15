"""3D models: glTF and GLB, USDZ, OBJ, STL, PLY.

All of a model's numbers are read and compared, its textures decoded, and a picture of it is drawn in software, as
there is no graphics card in a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dam.ingest import embedded, inner, packed, proofs
from dam.ingest.damage import AGAIN, refused
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable
from dam.ingest.mesh import Model, gltf, plain, render, same_places, usdz
from dam.ingest.pixels import colour_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Longest file that is read into memory.
_LONGEST = 2_000_000_000
#: Closedness is looked for in models up to so many triangles.
_CLOSED = 2_000_000
#: Width and height of the picture, as parts of the preview's width: what is drawn costs by the pixel.
_SHARE = (0.8, 0.6)
#: A model may take so many seconds, and one more for so many triangles.
_PATIENCE, _FACES_A_SECOND = 90.0, 20_000


def inspect(job: Job, found: Format) -> Inspection:
    """Read a model and draw it.

    :raises Unusable: it is damaged, needs files that are not inside it, or is too large.
    :raises CantCheck: it is packed in a way, or of a format, that nothing here reads.
    """
    # damaged numbers overflow; what comes of them is looked at, not warned of
    with np.errstate(all="ignore"):
        return _inspect(job)


def _inspect(job: Job) -> Inspection:
    model = Model()
    with refused("The model"):
        _read(job, model)
    if not model.pieces and not model.textures and not model.technical.get("meshes"):
        raise Unusable("The model is empty: there is no shape in it.", remedy=AGAIN)
    told = Inspection(embedded=embedded.clean(model.embedded), notes=model.notes, words=" ".join(model.words))
    job.more_time(_PATIENCE + sum(len(piece.faces) for piece in model.pieces) / _FACES_A_SECOND)
    with refused("The model"):
        told.technical = _measured(model) | model.technical
        if model.pieces:
            _draw(job, model, told)
        else:
            _sheet(job, model, told)
    told.technical.pop("transparent", None)  # of the picture, not of the model
    return told


def _read(job: Job, model: Model) -> None:
    with job.path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"PK"):
        with packed.opened(job, "The model") as parts:
            usdz.read(parts, model, job.limits)
        return
    if head.startswith((b"PXR-USDC", b"#usda")):
        raise CantCheck("Nothing here reads scenes in USD.", remedy="It was kept; a USDZ can be looked into.")
    if job.path.stat().st_size > min(_LONGEST, int(job.limits["max_unpacked_bytes"])):
        raise Unusable("The model is larger than can be read here.", remedy="Ask for a simpler one.")
    data = job.path.read_bytes()
    if head.startswith(b"glTF") or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        gltf.read(data, model, job.limits)
    else:
        plain.read(data, _kind(job, head, len(data)), model, job.limits)


def _kind(job: Job, head: bytes, size: int) -> str:
    """Tell OBJ, STL and PLY apart, which have no signature worth the name but PLY."""
    if head.startswith((b"ply\n", b"ply\r")):
        return "ply"
    if size >= 84 and size == 84 + 50 * int.from_bytes(head[80:84], "little"):
        return "stl"
    if head.lstrip()[:5].lower() == b"solid" and b"facet" in head.lower():
        return "stl"
    return "stl" if b"\0" in head or job.name.lower().endswith(".stl") else "obj"


# ------------------------------------------------------------------------------------------------ measures


def _measured(model: Model) -> dict[str, Any]:
    """Return counts, size and whether the surface is closed."""
    if not model.pieces:
        return {}
    points = np.concatenate([piece.points for piece in model.pieces])
    faces = sum(len(piece.faces) for piece in model.pieces)
    size = (points.max(axis=0).astype(np.float64) - points.min(axis=0)).tolist()
    known: dict[str, Any] = {
        "vertices": len(points),
        "faces": faces,
        "size": [float(f"{side:.6g}") for side in size],
        "coloured_points": any(piece.colours is not None for piece in model.pieces),
    }
    if 0 < faces <= _CLOSED:
        known["watertight"] = _is_closed(model, points)
    return known


def _is_closed(model: Model, points: NDArray[np.float32]) -> bool:
    """Tell whether every edge is one of two faces; points at one place count as one."""
    same = same_places(points)
    starts = np.cumsum([0, *(len(piece.points) for piece in model.pieces)])
    faces = np.concatenate(
        [same[piece.faces.astype(np.int64) + start] for piece, start in zip(model.pieces, starts, strict=False)]
    )
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[kept]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges[:, 0] * (int(same.max()) + 1) + edges[:, 1], return_counts=True)
    return bool(len(counts) and (counts == 2).all())


# ----------------------------------------------------------------------------------------------- pictures


def _draw(job: Job, model: Model, told: Inspection) -> None:
    across = proofs.box(job)[0]
    picture = render.draw(model.pieces, round(across * _SHARE[0]), round(across * _SHARE[1]), up=model.up)
    proofs.of_picture(job, inner.from_array(picture.pixels), told)
    # the model's colours, not those of the light and the ground
    side = int(np.sqrt(len(picture.colours)))
    told.colours = colour_names(picture.colours[: side * side].reshape(side, side, 3)) if side else []
    if not picture.whole:
        told.notes.append("The model is so fine that its picture shows a part of its triangles.")


def _sheet(job: Job, model: Model, told: Inspection) -> None:
    """Show the largest texture, where the shape can't be shown."""
    if not model.textures:
        told.notes.append("There is no picture of it.")
        return
    proofs.of_picture(job, max(model.textures, key=lambda texture: texture.width * texture.height), told)
    told.phash = None
