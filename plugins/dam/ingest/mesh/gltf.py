"""glTF 2.0 (ISO/IEC 12113) as text and as GLB: every buffer, accessor and texture is decoded and compared.

A reader of its own, because a file is proved by reading all of it: libraries that show models pass over what they
don't show. Draco's and meshopt's compression have no decoder here.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import pyvips

from dam.ingest.damage import AGAIN
from dam.ingest.inspection import CantCheck, Unusable
from dam.ingest.mesh import Material, Model, Piece, textures

if TYPE_CHECKING:
    from numpy.typing import NDArray

_JSON, _BINARY = b"JSON", b"BIN\0"
_KINDS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
#: Extensions that pack the shape itself, and what they are called.
_PACKED = {"KHR_draco_mesh_compression": "Draco's", "EXT_meshopt_compression": "meshopt's",
           "KHR_meshopt_compression": "meshopt's", "KHR_mesh_primitive_restart": "restart's"}  # fmt: skip
_POINTS, _STRIP, _FAN, _TRIANGLES = 0, 5, 6, 4
_TEXTURE_SIDE = 1024
_DEEPEST = 256


def read(data: bytes, model: Model, limits: dict[str, Any]) -> None:
    """Read a file into ``model``.

    :raises Unusable: it is cut off, contradicts itself, needs files that are not inside it, or is too large.
    :raises CantCheck: it is of another version, or packed in a way that nothing here unpacks.
    """
    _Reader(data, model, limits).read()


class _Reader:
    def __init__(self, data: bytes, model: Model, limits: dict[str, Any]) -> None:
        self._model, self._limits = model, limits
        text, self._binary = _chunks(data)
        self._tree = json.loads(text)
        if not isinstance(self._tree, dict):
            raise ValueError("it is no glTF document")
        self._buffers: list[bytes] = []
        self._arrays: dict[int, NDArray[Any]] = {}
        self._textures: dict[int, NDArray[np.uint8] | None] = {}
        self._faces = 0

    def read(self) -> None:
        self._version()
        self._whole()
        self._buffers = [self._buffer(number, each) for number, each in enumerate(self._all("buffers"))]
        for number in range(len(self._all("bufferViews"))):
            self._view(number)
        for number in range(len(self._all("accessors"))):
            self._accessor(number)
        self._images()
        materials = [self._material(each) for each in self._all("materials")]
        meshes = [list(self._mesh(number, materials)) for number in range(len(self._all("meshes")))]
        self._place(meshes)
        self._say()

    def _all(self, name: str) -> list[Any]:
        found = self._tree.get(name, [])
        if not isinstance(found, list):
            raise TypeError(f"its {name} are no list")
        return found

    def _one(self, name: str, number: Any) -> Any:
        found = self._all(name)
        if not isinstance(number, int) or not 0 <= number < len(found):
            raise ValueError(f"it refers to {name} number {number}, which is missing")
        return found[number]

    def _version(self) -> None:
        version = str(self._tree.get("asset", {}).get("version", ""))
        if not version.startswith("2."):
            raise CantCheck(f"The model is in version {version or '(unknown)'} of glTF; version 2 can be read here.")
        for name in self._all("extensionsRequired"):
            if name in _PACKED:
                raise CantCheck(f"The model is packed in {_PACKED[name]} way, which nothing here unpacks.")

    def _whole(self) -> None:
        """Refuse a model that needs other files. Here a file stands alone."""
        needed = [
            unquote(each["uri"])
            for name in ("buffers", "images")
            for each in self._all(name)
            if isinstance(each.get("uri"), str) and not each["uri"].startswith("data:")
        ]
        if needed:
            names = ", ".join(dict.fromkeys(needed[:8])) + (" …" if len(needed) > 8 else "")
            raise Unusable(
                f"The model needs files that are not inside it: {names}.",
                remedy="Ask for a .glb, which holds everything in one file.",
            )

    # ------------------------------------------------------------------------------------------- buffers

    def _buffer(self, number: int, said: dict[str, Any]) -> bytes:
        if "uri" in said:
            data = _data_url(said["uri"])
        elif number == 0 and self._binary is not None:
            data = self._binary
        else:
            raise ValueError(f"its buffer {number} has no data")
        length = int(said["byteLength"])
        if length > len(data):
            raise ValueError(f"its buffer {number} is truncated: {len(data):,} of {length:,} bytes")
        return data[:length]

    def _view(self, number: Any) -> tuple[bytes, int, int, int]:
        """Return a view's buffer, its start, its length and its stride."""
        said = self._one("bufferViews", number)
        buffer = said.get("buffer")
        self._one("buffers", buffer)
        start, length = int(said.get("byteOffset", 0)), int(said["byteLength"])
        if start < 0 or length <= 0 or start + length > len(self._buffers[buffer]):
            raise ValueError(f"its view {number} reaches beyond its buffer")
        return self._buffers[buffer], start, length, int(said.get("byteStride", 0))

    def _accessor(self, number: Any) -> NDArray[Any]:
        """Return an accessor's values: n × width, as stored. Compares that they are there, and are numbers."""
        if number in self._arrays:
            return self._arrays[number]
        said = self._one("accessors", number)
        count, width = int(said["count"]), _WIDTHS[said["type"]]
        kind = np.dtype(_KINDS[said["componentType"]])
        most = 10 * int(self._limits["max_faces"])
        if not 0 < count <= most:
            raise Unusable(f"The model has a list of {count:,} numbers.", remedy=f"At most {most:,} are accepted.")
        if "bufferView" in said:
            values = self._values(said["bufferView"], int(said.get("byteOffset", 0)), count, width, kind, number)
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in said:
            values = self._sparse(said["sparse"], values, number)
        if kind.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"its accessor {number} holds what are no numbers")
        self._arrays[number] = values
        return values

    def _values(self, view: Any, offset: int, count: int, width: int, kind: np.dtype[Any],
                number: Any) -> NDArray[Any]:  # fmt: skip
        buffer, start, length, stride = self._view(view)
        size = width * kind.itemsize
        stride = stride or size
        if offset < 0 or stride < size or offset + stride * (count - 1) + size > length:
            raise ValueError(f"its accessor {number} is truncated: it reaches beyond its view")
        return np.ndarray((count, width), kind, buffer, start + offset, (stride, kind.itemsize))

    def _sparse(self, said: dict[str, Any], values: NDArray[Any], number: Any) -> NDArray[Any]:
        count, where, what = int(said["count"]), said["indices"], said["values"]
        if not 0 < count <= len(values):
            raise ValueError(f"its accessor {number} changes more values than it has")
        places = self._values(
            where["bufferView"], int(where.get("byteOffset", 0)), count, 1,
            np.dtype(_KINDS[where["componentType"]]), number,
        )[:, 0].astype(np.int64)  # fmt: skip
        if places.max() >= len(values):
            raise ValueError(f"its accessor {number} changes values that it has not")
        changed = values.copy()
        changed[places] = self._values(
            what["bufferView"], int(what.get("byteOffset", 0)), count, values.shape[1], values.dtype, number
        )
        return changed

    def _floats(self, number: Any) -> NDArray[np.float32]:
        """Return an accessor's values as they are meant: whole numbers that stand for 0 to 1 divided."""
        values = self._accessor(number)
        if values.dtype.kind == "f":
            return values.astype(np.float32)
        if not self._one("accessors", number).get("normalized"):
            return values.astype(np.float32)
        return np.maximum(values / np.iinfo(values.dtype).max, -1).astype(np.float32)

    # ------------------------------------------------------------------------------------------ textures

    def _images(self) -> None:
        """Decode every picture once. :raises Unusable: one is damaged."""
        room = float(self._limits["max_megapixels"])
        for number, said in enumerate(self._all("images")):
            data = _data_url(said["uri"]) if "uri" in said else self._bytes(said["bufferView"])
            name = said.get("name") or f"number {number + 1}"
            picture = textures.decode(self._model.notes, name, data, room)
            if picture is not None:
                room -= picture.width * picture.height / 1e6
            self._textures[number] = None if picture is None else rgba(picture)

    def _bytes(self, view: Any) -> bytes:
        buffer, start, length, _ = self._view(view)
        return buffer[start : start + length]

    def _texture(self, said: dict[str, Any]) -> NDArray[np.uint8] | None:
        texture = self._one("textures", said.get("index"))
        extensions = texture.get("extensions", {})
        source = texture.get("source")
        for name in ("EXT_texture_webp", "EXT_texture_avif", "KHR_texture_basisu"):
            other = extensions.get(name, {}).get("source")
            if other is not None and (source is None or self._textures.get(other) is not None):
                source = other
        if source is None:
            return None
        self._one("images", source)
        return self._textures.get(source)

    def _material(self, said: dict[str, Any]) -> tuple[Material, dict[str, Any]]:
        """Return a material, and what it says of its texture's place."""
        pbr = said.get("pbrMetallicRoughness", {})
        older = said.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        colour = pbr.get("baseColorFactor") or older.get("diffuseFactor") or [1, 1, 1, 1]
        place = pbr.get("baseColorTexture") or older.get("diffuseTexture") or {}
        through = said.get("extensions", {}).get("KHR_materials_transmission", {}).get("transmissionFactor", 0)
        mode = said.get("alphaMode", "OPAQUE")
        alpha = float(colour[3]) * (1 - 0.75 * float(through))
        glow = said.get("emissiveFactor", [0, 0, 0])
        bright = 0.0 if "emissiveTexture" in said else 1.0
        for texture in _textures_of(said):
            self._texture(texture)
        return (
            Material(
                colour=(float(colour[0]), float(colour[1]), float(colour[2]), alpha),
                texture=self._texture(place) if place else None,
                metallic=float(pbr.get("metallicFactor", 0 if older else 1)) * (0.5 if _rough_map(pbr) else 1),
                roughness=float(pbr.get("roughnessFactor", 1)) if pbr else 0.6,
                glow=(float(glow[0]) * bright, float(glow[1]) * bright, float(glow[2]) * bright),
                clear=mode == "BLEND" or through > 0,
                cutoff=float(said.get("alphaCutoff", 0.5)) if mode == "MASK" else None,
            ),
            place,
        )

    # -------------------------------------------------------------------------------------------- meshes

    def _mesh(self, number: int, materials: list[tuple[Material, dict[str, Any]]]) -> Iterator[tuple[Piece, Any]]:
        """Yield a mesh's pieces, each with its joints' numbers and weights if it has any."""
        for said in self._all("meshes")[number]["primitives"]:
            if any(name in said.get("extensions", {}) for name in _PACKED):
                raise CantCheck("The model's shape is packed in a way that nothing here unpacks.")
            own = said["attributes"]
            points = self._floats(own["POSITION"])
            if points.shape[1] != 3:
                raise ValueError(f"the points of mesh {number} have {points.shape[1]} coordinates")
            for name, other in own.items():
                count = len(self._accessor(other))
                if count != len(points):
                    raise ValueError(f"mesh {number} has {len(points):,} points and {count:,} of {name}")
            for target in said.get("targets", []):
                for other in target.values():
                    self._accessor(other)
            faces = self._triangles(said, len(points), number)
            self._faces += len(faces)
            if self._faces > int(self._limits["max_faces"]):
                raise too_many(self._faces, self._limits)
            if not len(faces) and said.get("mode", _TRIANGLES) != _POINTS:
                continue
            material, place = Material(), dict[str, Any]()
            if "material" in said:
                self._one("materials", said["material"])
                material, place = materials[said["material"]]
            yield (
                Piece(
                    points,
                    faces,
                    normals=self._floats(own["NORMAL"]) if "NORMAL" in own else None,
                    colours=_with_alpha(self._floats(own["COLOR_0"])) if "COLOR_0" in own else None,
                    places=self._places(own, place) if material.texture is not None else None,
                    material=material,
                ),
                self._joints(own),
            )

    def _triangles(self, said: dict[str, Any], count: int, number: int) -> NDArray[np.int32]:
        mode = said.get("mode", _TRIANGLES)
        if "indices" in said:
            order = self._accessor(said["indices"])[:, 0].astype(np.int64)
            if order.max() >= count:
                raise ValueError(f"mesh {number} refers to point {order.max():,} of {count:,}")
        else:
            order = np.arange(count)
        if mode == _TRIANGLES:
            faces = order[: len(order) // 3 * 3].reshape(-1, 3)
        elif mode == _STRIP and len(order) > 2:
            faces = np.stack([order[:-2], order[1:-1], order[2:]], axis=1)
            faces[1::2] = faces[1::2, ::-1]
        elif mode == _FAN and len(order) > 2:
            faces = np.stack([np.full(len(order) - 2, order[0]), order[1:-1], order[2:]], axis=1)
        else:
            faces = np.zeros((0, 3), np.int64)
        return faces.astype(np.int32)

    def _places(self, own: dict[str, Any], place: dict[str, Any]) -> NDArray[np.float32] | None:
        """Return places in the texture, as the material's own transform moves them."""
        moved = place.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{moved.get('texCoord', place.get('texCoord', 0))}"
        if name not in own:
            return None
        places = self._floats(own[name])[:, :2]
        if not moved:
            return places
        turn = float(moved.get("rotation", 0))
        across, down = moved.get("scale", (1, 1))
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        shifted: NDArray[np.float32] = (places * (across, down) @ turned.T + moved.get("offset", (0, 0))).astype("f4")
        return shifted

    def _joints(self, own: dict[str, Any]) -> Any:
        if "JOINTS_0" in own and "WEIGHTS_0" in own:
            return self._accessor(own["JOINTS_0"]), self._floats(own["WEIGHTS_0"])
        return None

    # --------------------------------------------------------------------------------------------- nodes

    def _place(self, meshes: list[list[tuple[Piece, Any]]]) -> None:
        """Put every mesh where the nodes of the scene have it."""
        nodes = self._all("nodes")
        everywhere = self._matrices(nodes)
        for number in self._in_scene(nodes):
            node = nodes[number]
            if "mesh" not in node:
                continue
            self._one("meshes", node["mesh"])
            bones = self._bones(node, everywhere)
            for piece, joints in meshes[node["mesh"]]:
                self._model.pieces.append(_moved(piece, everywhere[number], joints, bones))

    def _matrices(self, nodes: list[Any]) -> list[NDArray[np.float64]]:
        """Return every node's place in the world. :raises ValueError: nodes are within themselves."""
        above: dict[int, int] = {}
        for number, node in enumerate(nodes):
            for child in node.get("children", []):
                self._one("nodes", child)
                if child in above or child == number:
                    raise ValueError(f"its node {child} is in two places")
                above[child] = number
        made: dict[int, NDArray[np.float64]] = {}
        for number in range(len(nodes)):
            way, at = [], number
            while at not in made:
                way.append(at)
                if at not in above:
                    break
                at = above[at]
                if len(way) > min(len(nodes), _DEEPEST):
                    raise ValueError("its nodes are within themselves, or too deep")
            for at in reversed(way):
                own = _matrix(nodes[at])
                made[at] = made[above[at]] @ own if at in above else own
        return [made[number] for number in range(len(nodes))]

    def _in_scene(self, nodes: list[Any]) -> list[int]:
        """Return the nodes that are shown: of the scene that is shown, or all where there is none."""
        if not self._all("scenes"):
            return list(range(len(nodes)))
        scene = self._one("scenes", self._tree.get("scene", 0))
        todo, found = list(scene.get("nodes", [])), []
        while todo:
            number = todo.pop()
            found.append(number)
            todo += self._one("nodes", number).get("children", [])
            if len(found) > len(nodes):
                raise ValueError("its scene has nodes twice")
        return found

    def _bones(self, node: dict[str, Any], everywhere: list[NDArray[np.float64]]) -> NDArray[np.float64] | None:
        """Return how each joint of a node's skin moves its points."""
        if "skin" not in node:
            return None
        skin = self._one("skins", node["skin"])
        for joint in skin["joints"]:
            self._one("nodes", joint)
        bones = np.array([everywhere[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" in skin:
            bound = self._floats(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            if len(bound) < len(bones):
                raise ValueError("a skin has fewer matrices than joints")
            bones = bones @ bound[: len(bones)]
        return bones

    # --------------------------------------------------------------------------------------------- words

    def _say(self) -> None:
        animations = self._all("animations")
        inputs = [sampler["input"] for each in animations for sampler in each.get("samplers", [])]
        seconds = max((float(self._accessor(number).max()) for number in inputs), default=0.0)
        for each in animations:
            for sampler in each.get("samplers", []):
                self._accessor(sampler["output"])
        self._model.technical |= {
            "meshes": len(self._all("meshes")),
            "materials": len(self._all("materials")),
            "textures": len(self._all("images")),
            "animations": len(animations),
            "animation_seconds": round(seconds, 3),
            "extensions": sorted(str(name) for name in self._all("extensionsUsed")),
            "unit": "metre",
        }
        asset = self._tree.get("asset", {})
        told = {f"glTF.{key}": value for key, value in asset.items() if isinstance(value, str)}
        extras = asset.get("extras")
        if isinstance(extras, dict):
            told |= {f"glTF.{key}": value for key, value in extras.items() if isinstance(value, str)}
        self._model.embedded |= told | _xmp(self._tree)
        names = [each.get("name") for kind in ("meshes", "materials", "nodes") for each in self._all(kind)]
        self._model.words += [name for name in dict.fromkeys(names) if isinstance(name, str)][:500]


# ------------------------------------------------------------------------------------------------- helpers


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """Return the text and the binary part of a GLB; of a plain glTF, the text."""
    if data[:4] != b"glTF":
        return data, None
    if len(data) < 20:
        raise ValueError("it is truncated within its header")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise CantCheck(f"The model is in version {version} of glTF; version 2 can be read here.")
    if length > len(data):
        raise Unusable(f"The model is cut off after {100 * len(data) // length} %.", remedy=AGAIN)
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        (size,) = struct.unpack_from("<I", data, at)
        if at + 8 + size > length:
            raise ValueError("one of its chunks reaches beyond its end")
        found.setdefault(data[at + 4 : at + 8], data[at + 8 : at + 8 + size])
        at += 8 + size
    if _JSON not in found:
        raise ValueError("it has no description of itself")
    return found[_JSON], found.get(_BINARY)


def _data_url(url: str) -> bytes:
    head, _, body = url.partition(",")
    raw = unquote_to_bytes(body)
    if ";base64" not in head:
        return raw
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"data inside it are damaged: {error}") from error


def rgba(picture: Any) -> NDArray[np.uint8]:
    """Return a picture as height × width × 4 in sRGB, no larger than a preview shows."""
    shrink = min(1.0, _TEXTURE_SIDE / max(picture.width, picture.height))
    if shrink < 1:
        picture = picture.resize(shrink)
    if picture.interpretation != "srgb" or picture.format != "uchar":
        picture = picture.colourspace("srgb").cast("uchar")
    if not picture.hasalpha():
        picture = picture.bandjoin(255)
    if picture.bands == 2:
        picture = pyvips.Image.bandjoin([picture[0]] * 3 + [picture[1]])
    return np.ndarray(
        buffer=picture.write_to_memory(), dtype=np.uint8, shape=(picture.height, picture.width, picture.bands)
    )[:, :, :4]


def too_many(faces: int, limits: dict[str, Any]) -> Unusable:
    """Return the refusal of a model with too many triangles."""
    return Unusable(f"The model has {faces:,} triangles.", remedy=f"At most {int(limits['max_faces']):,} are accepted.")


def _rough_map(pbr: dict[str, Any]) -> bool:
    """Tell whether a texture says what is metal: most of it mostly isn't."""
    return "metallicRoughnessTexture" in pbr


def _textures_of(said: Any) -> Iterator[dict[str, Any]]:
    """Yield all references of a material to textures, its extensions' too."""
    for key, value in said.items() if isinstance(said, dict) else ():
        if key.endswith("Texture") and isinstance(value, dict):
            yield value
        elif isinstance(value, dict):
            yield from _textures_of(value)


def _with_alpha(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    return colours if colours.shape[1] == 4 else np.hstack([colours, np.ones((len(colours), 1), np.float32)])


def _matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """Return a node's own transformation."""
    if "matrix" in node:
        made = np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    else:
        x, y, z, w = (float(part) for part in node.get("rotation", (0, 0, 0, 1)))
        made = np.eye(4)
        made[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        made[:3, :3] *= np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
        made[:3, 3] = node.get("translation", (0, 0, 0))
    if not np.isfinite(made).all():
        raise ValueError("a node is nowhere")
    return made


def _moved(piece: Piece, matrix: NDArray[np.float64], joints: Any, bones: NDArray[np.float64] | None) -> Piece:
    """Return a piece in the world: where its node is, or where the joints of its skin are."""
    points = np.hstack([piece.points.astype(np.float64), np.ones((len(piece.points), 1))])
    normals = piece.normals
    if bones is not None and joints is not None:
        numbers, weights = joints
        if numbers.max() >= len(bones):
            raise ValueError("a skin refers to joints that it has not")
        # most points follow one to four joints; an all-zero weight follows the first
        weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, np.eye(1, weights.shape[1]))
        moved = np.zeros((len(points), 4))
        turned = None if normals is None else np.zeros((len(points), 3))
        for number in range(numbers.shape[1]):
            own = bones[numbers[:, number]]
            moved += np.einsum("nij,nj->ni", own, points) * weights[:, number, None]
            if turned is not None and normals is not None:
                turned += np.einsum("nij,nj->ni", own[:, :3, :3], normals) * weights[:, number, None]
        points, normals = moved, None if turned is None else turned.astype(np.float32)
    else:
        points = points @ matrix.T
        if normals is not None:
            # what is stretched turns its surfaces the other way
            around = np.linalg.pinv(matrix[:3, :3])
            normals = (normals @ around).astype(np.float32)
    flipped = bones is None and np.linalg.det(matrix[:3, :3]) < 0
    return Piece(
        points[:, :3].astype(np.float32), piece.faces[:, ::-1] if flipped else piece.faces, normals, piece.colours,
        piece.places, piece.material,
    )  # fmt: skip


def _xmp(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the first packet of ``KHR_xmp_json_ld`` by exiv2's keys."""
    packets = tree.get("extensions", {}).get("KHR_xmp_json_ld", {}).get("packets", [])
    told: dict[str, Any] = {}
    for key, value in packets[0].items() if packets and isinstance(packets[0], dict) else ():
        if not key.startswith("@") and ":" in key:
            told[f"Xmp.{key.replace(':', '.', 1)}"] = _plain(value)
    return told


def _plain(value: Any) -> Any:
    """Return a value of JSON-LD as exiv2 tells it: lists, and text by language."""
    if not isinstance(value, dict):
        return value
    for kind in ("@list", "@set"):
        if kind in value:
            return [_plain(each) for each in value[kind]]
    if value.get("@type") == "rdf:Alt":
        items = [each for key, each in value.items() if key.startswith("rdf:_") and isinstance(each, dict)]
        return {str(each.get("@language", "x-default")): each.get("@value", "") for each in items}
    return value.get("@value", "")
