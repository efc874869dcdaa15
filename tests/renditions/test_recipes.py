from __future__ import annotations

import re
from pathlib import Path

import pytest

from dam.errors import BadInput
from dam.renditions.recipes import read
from dam.settings import PROJECT

SHIPPED = PROJECT / "include" / "templates" / "recipes.yaml"


def test_the_shipped_recipes_are_sound() -> None:
    recipes = read(SHIPPED)
    assert list(recipes) == ["preview", "thumbnail", "webp", "avif", "portrait", "landscape", "square"]
    assert recipes["portrait"].media_type == "image/avif"
    assert recipes["thumbnail"].suffix == ".jpg"


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "recipes.yaml"
    path.write_text(
        "hero:\n"
        "  width: 5\n"
        "  height: 800\n"
        "  fit: inside\n"
        "  encode: {format: jpeg, quality: 80}\n"
        "tile:\n"
        "  width: 100\n"
        "  height: 100\n"
        "  fit: crop\n"
        "  focus: attention\n"
        "  encode: {format: avif, quality: 300, effort: 3}\n"
    )
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.where == f"{path}:2"
    assert "line 2, hero.width" in caught.value.what
    assert "line 11, tile.encode.quality" in caught.value.what
    assert "line 11, tile.encode.effort" in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("from: preview", "from: nowhere"), "no recipe 'nowhere'"),
        (("from: preview", "from: square"), "must itself be `fit: inside`"),
        (("width: 256", "width: 2560"), "smaller than this recipe"),
        (("focus: attention", "focus: [2, 0.5]"), "focus"),
        (("  focus: attention\n", ""), "a crop needs one"),
        (("  focus: attention\n", "  focus: attention\n  least: 900\n"), "`least` belongs to `fit: inside`"),
        (("from: preview", "from: preview\n  least: 200"), "made from the original"),
        (("least: 1500", "least: 2500"), "`least` is larger than the box"),
        (("width: 256", "width: 1600"), "smaller than this recipe"),
        (("title: Preview", "titel: Preview"), "preview.titel"),
        (("title: Preview", "title: 'Preview"), "is not YAML"),
    ],
)
def test_what_a_person_gets_wrong_is_explained(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = SHIPPED.read_text()
    assert change[0] in text
    path = tmp_path / "recipes.yaml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(BadInput, match=re.escape(told)) as caught:
        read(path)
    assert re.search(r"recipes\.yaml:\d+$", caught.value.where)


def test_a_missing_or_empty_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is missing"):
        read(tmp_path / "recipes.yaml")
    (tmp_path / "recipes.yaml").write_text("# nothing\n")
    with pytest.raises(BadInput, match="holds no recipes"):
        read(tmp_path / "recipes.yaml")


def test_only_what_changes_bytes_is_in_the_fingerprint() -> None:
    recipes = read(SHIPPED)
    square = recipes["square"]
    renamed = square.model_copy(update={"name": "tile", "title": "Another title"})
    assert renamed.fingerprint(recipes) == square.fingerprint(recipes)
    larger = square.model_copy(update={"width": 1200})
    assert larger.fingerprint(recipes) != square.fingerprint(recipes)
    smaller_parent = recipes | {"preview": recipes["preview"].model_copy(update={"width": 1200})}
    thumbnail = recipes["thumbnail"]
    exact_parent = recipes | {"preview": recipes["preview"].model_copy(update={"least": None})}
    assert thumbnail.fingerprint(exact_parent) != thumbnail.fingerprint(recipes)
    assert thumbnail.fingerprint(smaller_parent) != thumbnail.fingerprint(recipes)
