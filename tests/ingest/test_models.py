"""3D models: every number compared, every texture decoded, a picture drawn; what is missing or wrong is named."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile

import numpy as np
import pytest
import trimesh
from hypothesis import given
from PIL import Image

import fuzzing
import world
from dam.ingest.inspection import CantCheck, Unusable

SMALL = 400  # a side of previews here: what is drawn costs by the pixel


def inspected(path, module="model", **limits):
    return world.inspected(path, module, side=SMALL, **limits)


RED = [200, 20, 25, 255]


def coloured_box(extents=(1, 2, 3)):
    box = trimesh.creation.box(extents=extents)
    box.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((len(box.vertices), 2)),
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=RED, metallicFactor=0.0, roughnessFactor=0.7),
    )
    return box


def exported(tmp_path, shape, name):
    """Write a shape with trimesh, in the format that the name tells."""
    path = tmp_path / name
    data = shape.export(file_type=name.rpartition(".")[2])
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def centre(told):
    picture = told.proofs[0].picture()
    return picture.getpixel((picture.width // 2, picture.height // 2))


def test_a_model_is_measured_and_drawn(tmp_path):
    told = inspected(exported(tmp_path, coloured_box(), "box.glb"), "model")
    assert told.technical["faces"] == 12
    assert told.technical["size"] == [1, 2, 3]
    assert told.technical["unit"] == "metre"
    assert told.technical["watertight"] is True
    assert (told.technical["meshes"], told.technical["materials"], told.technical["animations"]) == (1, 1, 0)
    assert [proof.name for proof in told.proofs] == ["preview", "thumbnail"]
    red, green, blue = centre(told)
    assert red > 120
    assert max(green, blue) < red / 2
    assert told.colours == ["red"]
    picture = np.asarray(told.proofs[0].picture().convert("L"))
    assert picture[:10].min() > 200  # nothing but ground above it
    assert "transparent" not in told.technical


def test_the_same_model_makes_the_same_picture(tmp_path):
    path = exported(tmp_path, coloured_box(), "box.glb")
    assert inspected(path, "model").proofs[0].data == inspected(path, "model").proofs[0].data


def test_a_model_throws_a_shadow_where_it_stands(tmp_path):
    told = inspected(exported(tmp_path, trimesh.creation.icosphere(3), "ball.glb"), "model")
    picture = np.asarray(told.proofs[0].picture().convert("L")).astype(int)
    height, width = picture.shape
    beneath, beside = picture[round(height * 0.93), width // 2], picture[round(height * 0.93), 10]
    assert beneath < beside - 15


def test_a_texture_is_shown_where_it_belongs(tmp_path):
    half = Image.new("RGB", (64, 64), (20, 160, 30))
    half.paste((30, 40, 200), (0, 32, 64, 64))  # green above, blue below
    square = trimesh.Trimesh(
        [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False,
        visual=trimesh.visual.TextureVisuals(
            uv=[[0, 0], [1, 0], [1, 1], [0, 1]],
            material=trimesh.visual.material.PBRMaterial(baseColorTexture=half, metallicFactor=0.0),
        ),
    )  # fmt: skip
    told = inspected(exported(tmp_path, square, "square.glb"), "model")
    assert told.technical["textures"] == 1
    picture = told.proofs[0].picture()
    upper, lower = (picture.getpixel((picture.width // 2, round(picture.height * part))) for part in (0.3, 0.65))
    assert upper[1] > 1.5 * max(upper[0], upper[2])
    assert lower[2] > 1.5 * max(lower[0], lower[1])


# ---------------------------------------------------------------------------------------------------- glTF


def gltf(points, faces=None, *, change=None, packed=True):
    """Return a glTF of one mesh as its description and its binary part."""
    points = np.asarray(points, np.float32)
    binary = points.tobytes()
    views = [{"buffer": 0, "byteOffset": 0, "byteLength": len(binary)}]
    accessors = [{"bufferView": 0, "componentType": 5126, "count": len(points), "type": "VEC3"}]
    primitive = {"attributes": {"POSITION": 0}}
    if faces is not None:
        order = np.asarray(faces, np.uint16).tobytes()
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(order)})
        accessors.append({"bufferView": 1, "componentType": 5123, "count": len(order) // 2, "type": "SCALAR"})
        primitive["indices"] = 1
        binary += order + b"\0" * (-len(order) % 4)
    tree = {
        "asset": {"version": "2.0", "generator": "by hand", "copyright": "© Acme", "extras": {"author": "Jo Brandt"}},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "name": "Cup"}],
        "meshes": [{"primitives": [primitive], "name": "Body"}],
        "buffers": [{"byteLength": len(binary)}], "bufferViews": views, "accessors": accessors,
    }  # fmt: skip
    if change:
        binary = change(tree, binary) or binary
    return tree, binary


def glb(tree, binary):
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sIIII", b"glTF", 2, size, len(text), 0x4E4F534A) + text
        + struct.pack("<II", len(binary), 0x004E4942) + binary
    )  # fmt: skip


BOX = trimesh.creation.box()
POINTS, FACES = BOX.vertices, BOX.faces


def written(tmp_path, content, name="model.glb"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_what_a_gltf_says_of_itself_is_told(tmp_path):
    told = inspected(written(tmp_path, glb(*gltf(POINTS, FACES))), "model")
    assert told.embedded["glTF.copyright"] == "© Acme"
    assert told.embedded["glTF.author"] == "Jo Brandt"
    assert {"Body", "Cup"} <= set(told.words.split())

    def packet(tree, binary):
        title = {"@type": "rdf:Alt", "rdf:_1": {"@language": "de", "@value": "Tasse"}}
        tree["extensions"] = {"KHR_xmp_json_ld": {"packets": [{"@context": {}, "dc:title": title,
                              "dc:creator": {"@list": ["Jo"]}}]}}  # fmt: skip

    told = inspected(written(tmp_path, glb(*gltf(POINTS, FACES, change=packet))), "model")
    assert told.embedded["Xmp.dc.title"] == {"de": "Tasse"}
    assert told.embedded["Xmp.dc.creator"] == ["Jo"]


def test_a_gltf_with_its_data_inside_is_read_and_one_without_names_what_it_needs(tmp_path):
    tree, binary = gltf(POINTS, FACES)
    url = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    tree["buffers"][0]["uri"] = url
    assert inspected(written(tmp_path, tree, "model.gltf"), "model").technical["faces"] == 12
    tree["buffers"][0]["uri"] = "scene.bin"
    tree["images"] = [{"uri": "wood%20grain.png"}]
    with pytest.raises(Unusable, match=r"not inside it: scene\.bin, wood grain\.png.* Ask for a \.glb"):
        inspected(written(tmp_path, tree, "model.gltf"), "model")


def test_nodes_move_what_is_in_them(tmp_path):
    def nested(tree, binary):
        tree["nodes"] = [
            {"children": [1], "scale": [2, 2, 2]},
            {"mesh": 0, "rotation": [0, 0, 0.7071067811865476, 0.7071067811865476], "translation": [5, 0, 0]},
            {"mesh": 0},  # outside the scene
        ]

    box = trimesh.creation.box(extents=(1, 3, 1))
    told = inspected(written(tmp_path, glb(*gltf(box.vertices, box.faces, change=nested))), "model")
    assert told.technical["size"] == [6, 2, 2]
    assert told.technical["faces"] == 12


def test_a_skin_moves_points_with_its_joints(tmp_path):
    def skinned(tree, binary):
        joints = np.repeat([[0, 0, 0, 0]], len(POINTS), axis=0).astype(np.uint8)
        joints[POINTS[:, 1] > 0] = [1, 0, 0, 0]  # the upper half follows the second joint
        weights = np.repeat([[1, 0, 0, 0]], len(POINTS), axis=0).astype(np.float32)
        for data, kind, name in ((joints, 5121, "JOINTS_0"), (weights, 5126, "WEIGHTS_0")):
            tree["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes})
            tree["accessors"].append(
                {
                    "bufferView": len(tree["bufferViews"]) - 1,
                    "componentType": kind,
                    "count": len(POINTS),
                    "type": "VEC4",
                }
            )
            tree["meshes"][0]["primitives"][0]["attributes"][name] = len(tree["accessors"]) - 1
            binary += data.tobytes()
        tree["buffers"][0]["byteLength"] = len(binary)
        tree["nodes"] = [{"mesh": 0, "skin": 0, "translation": [9, 9, 9]}, {}, {"translation": [0, 4, 0]}]
        tree["scenes"] = [{"nodes": [0, 1, 2]}]
        tree["skins"] = [{"joints": [1, 2]}]
        return binary

    told = inspected(written(tmp_path, glb(*gltf(POINTS, FACES, change=skinned))), "model")
    assert told.technical["size"] == [1, 5, 1]


def test_whole_numbers_and_changed_values_are_read_as_they_are_meant(tmp_path):
    whole = np.round(POINTS * 2 * 32767).astype(np.int16)
    first, whole[0] = whole[:1].tobytes(), 0
    binary = np.hstack([whole, np.zeros((len(whole), 1), np.int16)]).tobytes()
    order = FACES.astype(np.uint16).tobytes()
    parts = [binary, order, struct.pack("<HH", 0, 0), first]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    tree, _ = gltf(POINTS)
    tree["bufferViews"] = [
        {"buffer": 0, "byteOffset": int(start), "byteLength": len(part)}
        for start, part in zip(starts, parts, strict=False)
    ]
    tree["bufferViews"][0]["byteStride"] = 8
    tree["accessors"] = [
        {"bufferView": 0, "componentType": 5122, "normalized": True, "count": len(POINTS), "type": "VEC3",
         "sparse": {"count": 1, "indices": {"bufferView": 2, "componentType": 5123}, "values": {"bufferView": 3}}},
        {"bufferView": 1, "componentType": 5123, "count": FACES.size, "type": "SCALAR"},
    ]  # fmt: skip
    tree["meshes"][0]["primitives"][0] |= {"indices": 1}
    tree["buffers"][0]["byteLength"] = int(starts[-1])
    told = inspected(written(tmp_path, glb(tree, b"".join(parts))), "model")
    assert told.technical["size"] == [2, 2, 2]
    assert told.technical["watertight"] is True


@pytest.mark.parametrize(("mode", "faces"), [(4, 2), (5, 4), (6, 4)])
def test_strips_and_fans_are_triangles(tmp_path, mode, faces):
    def change(tree, binary):
        tree["meshes"][0]["primitives"][0]["mode"] = mode

    told = inspected(written(tmp_path, glb(*gltf(np.random.default_rng(1).random((6, 3)), change=change))), "model")
    assert told.technical["faces"] == faces


def changed(**places):
    """Return a change of a glTF's tree by paths like ``accessors_0_count``."""

    def change(tree, binary):
        for path, value in places.items():
            *way, last = [int(step) if step.isdigit() else step for step in path.split("_")]
            at = tree
            for step in way:
                at = at[step]
            at[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed(accessors_0_count=9), "accessor 0 is truncated"),
        (changed(bufferViews_0_byteLength=10_000), "reaches beyond its buffer"),
        (changed(buffers_0_byteLength=10_000), "buffer 0 is truncated"),
        (changed(accessors_1_bufferView=7), "bufferViews number 7, which is missing"),
        (changed(nodes_0_mesh=3), "meshes number 3, which is missing"),
        (changed(nodes_0_children=[0]), "in two places"),
        (changed(accessors_0_count=10**10), "a list of 10,000,000,000 numbers"),
        (changed(nodes=[{"children": [1]}, {"children": [2]}, {"children": [0], "mesh": 0}]), "within themselves"),
        (changed(meshes_0_primitives_0_material=0), "materials number 0, which is missing"),
    ],
)
def test_a_gltf_that_contradicts_itself_is_refused(tmp_path, change, why):
    with pytest.raises(Unusable, match=why):
        inspected(written(tmp_path, glb(*gltf(POINTS, FACES, change=change))), "model")


def test_a_face_of_points_that_are_missing_is_refused(tmp_path):
    with pytest.raises(Unusable, match="refers to point 200 of 8"):
        inspected(written(tmp_path, glb(*gltf(POINTS, [[0, 1, 200]]))), "model")
    points = POINTS.copy()
    points[3, 1] = np.nan
    with pytest.raises(Unusable, match="what are no numbers"):
        inspected(written(tmp_path, glb(*gltf(points, FACES))), "model")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed(asset_version="1.0"), r"version 1\.0 of glTF"),
        (changed(extensionsRequired=["KHR_draco_mesh_compression"]), "packed in Draco's way"),
    ],
)
def test_what_nothing_here_unpacks_waits_for_a_person(tmp_path, change, why):
    with pytest.raises(CantCheck, match=why):
        inspected(written(tmp_path, glb(*gltf(POINTS, FACES, change=change))), "model")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_glb_that_is_cut_off_is_refused(tmp_path, share):
    path = world.truncated(exported(tmp_path, coloured_box(), "box.glb"), share)
    with pytest.raises(Unusable, match="cut off"):
        inspected(path, "model")


def test_a_damaged_texture_is_named(tmp_path):
    def textured(tree, binary):
        photo = world.picture(tmp_path, "wood.jpg", size=(64, 64)).read_bytes()
        tree["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(photo) // 2})
        tree["images"] = [{"bufferView": 2, "mimeType": "image/jpeg", "name": "Wood"}]
        tree["buffers"][0]["byteLength"] = len(binary) + len(photo)
        return binary + photo

    with pytest.raises(Unusable, match="texture Wood is damaged"):
        inspected(written(tmp_path, glb(*gltf(POINTS, FACES, change=textured))), "model")


def test_too_many_triangles_are_refused(tmp_path):
    for name in ("ball.glb", "ball.stl", "ball.ply", "ball.obj"):
        with pytest.raises(Unusable, match="has 1,280 triangles"):
            inspected(exported(tmp_path, trimesh.creation.icosphere(3), name), "model", max_faces=1000)


# ------------------------------------------------------------------------------------------ plainer formats


@pytest.mark.parametrize("name", ["ball.obj", "ball.stl", "ball.ply"])
def test_plainer_formats_tell_the_same_shape(tmp_path, name):
    told = inspected(exported(tmp_path, trimesh.creation.icosphere(3), name), "model")
    assert told.technical["faces"] == 1280
    assert told.technical["watertight"] is True
    assert told.technical["size"] == pytest.approx([2, 2, 2], abs=0.02)
    assert told.technical["unit"] == "not told"
    assert told.colours == ["grey"]


def test_an_stl_in_text_is_read(tmp_path):
    path = tmp_path / "ball.stl"
    text = trimesh.creation.icosphere(1).export(file_type="stl_ascii")
    path.write_text(text)
    assert inspected(path, "model").technical["faces"] == 80
    path.write_text(text[: len(text) // 2])
    with pytest.raises(Unusable, match="cut off"):
        inspected(path, "model")


@pytest.mark.parametrize(("name", "why"), [("ball.stl", "cut off after 69 %"), ("ball.ply", "damaged")])
def test_a_plainer_file_that_is_cut_off_is_refused(tmp_path, name, why):
    path = world.truncated(exported(tmp_path, trimesh.creation.icosphere(3), name), 0.7)
    with pytest.raises(Unusable, match=why):
        inspected(path, "model")


def test_an_obj_names_its_parts_and_what_it_lacks(tmp_path):
    lines = ["mtllib wood.mtl", "o Table top", "usemtl Oak", *(f"v {x} {y} {z}" for x, y, z in POINTS)]
    lines += [f"f {a + 1}/1 {b + 1} \\\n{c + 1}" for a, b, c in FACES]
    told = inspected(written(tmp_path, "\n".join(lines).encode(), "table.obj"), "model")
    assert told.technical["faces"] == 12
    assert told.notes == ["Its materials are in files that are not inside it (wood.mtl): the shape alone is shown."]
    assert "Table top" in told.words
    with pytest.raises(Unusable, match="refer to point 9 of 8"):
        inspected(written(tmp_path, "\n".join([*lines, "f 1 2 9"]).encode(), "table.obj"), "model")


def test_colours_of_points_are_shown_and_a_cloud_of_points_is_drawn(tmp_path):
    ball = trimesh.creation.icosphere(4)
    cloud = trimesh.PointCloud(ball.vertices, colors=np.tile([20, 30, 220, 255], (len(ball.vertices), 1)))
    told = inspected(exported(tmp_path, cloud, "cloud.ply"), "model")
    assert (told.technical["faces"], told.technical["vertices"]) == (0, 2562)
    assert told.technical["coloured_points"] is True
    assert told.colours == ["blue"]
    assert centre(told)[2] > 1.5 * centre(told)[0]
    ball.visual.vertex_colors = [20, 180, 40, 255]
    assert inspected(exported(tmp_path, ball, "ball.ply"), "model").colours == ["green"]


@pytest.mark.parametrize("content", [b"# nothing\n", b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n"])
def test_an_empty_model_is_refused(tmp_path, content):
    with pytest.raises(Unusable, match="The model is empty"):
        inspected(written(tmp_path, content, "nothing.obj"), "model")


# ---------------------------------------------------------------------------------------------------- USDZ


def usdz(tmp_path, parts, *, aligned=True, **options):
    path = tmp_path / "model.usdz"
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            if aligned:
                at = archive.fp.tell() + 30 + len(name)
                info.extra = struct.pack("<HH", 0x1986, (-at - 4) % 64) + bytes((-at - 4) % 64)
            archive.writestr(info, content)
    return path


SCENE = b'#usda 1.0\n(\n    metersPerUnit = 0.01\n    upAxis = "Y"\n)\ndef Xform "Cup" {}\n'


def test_a_usdz_shows_its_textures(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (320, 200), (20, 160, 30)).save(picture, "PNG")
    parts = {"cup.usda": SCENE, "textures/colour.png": picture.getvalue()}
    told = inspected(usdz(tmp_path, parts), "model")
    assert told.technical["parts"] == ["cup.usda", "textures/colour.png"]
    assert told.technical["metres_per_unit"] == 0.01
    assert told.colours == ["green"]
    assert told.notes == ["Its shape is not shown, as nothing here reads USD scenes."]
    told = inspected(usdz(tmp_path, parts, aligned=False), "model")
    assert any("not aligned" in note for note in told.notes)
    told = inspected(usdz(tmp_path, parts, compression=zipfile.ZIP_DEFLATED), "model")
    assert any("which the format forbids" in note for note in told.notes)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"readme.txt": b"hello"}, "does not begin with its scene"),
        ({"cup.usdc": b"not a scene"}, "does not begin as one"),
        ({"cup.usdc": b"PXR-USDC\0\x08\0\0\0\0\0\0" + struct.pack("<Q", 99999)}, "table of contents is missing"),
        ({"cup.usda": SCENE, "a.png": b"\x89PNG\r\n\x1a\n"}, "texture a.png is damaged"),
    ],
)
def test_a_damaged_usdz_is_refused(tmp_path, parts, why):
    with pytest.raises(Unusable, match=why):
        inspected(usdz(tmp_path, parts), "model")


def test_a_bare_scene_waits_for_a_person(tmp_path):
    with pytest.raises(CantCheck, match="scenes in USD"):
        inspected(written(tmp_path, SCENE, "cup.usda"), "model")


# -------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["ball.glb", "ball.stl", "ball.ply", "ball.obj", "model.usdz"])
def test_a_damaged_model_is_refused_or_told(tmp_path, name):
    if name == "model.usdz":
        whole = usdz(tmp_path, {"cup.usda": SCENE, "a.png": world.png_bytes()}).read_bytes()
    else:
        whole = exported(tmp_path, trimesh.creation.icosphere(1), name).read_bytes()

    @fuzzing.examples
    @given(content=fuzzing.damaged(whole))
    def examine(content):
        fuzzing.refused_or_told(written(tmp_path, content, f"damaged-{name}"), "model")

    examine()
