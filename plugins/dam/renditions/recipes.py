"""The recipes of ``include/templates/recipes.yaml``: data that people edit, checked when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dam.errors import BadInput
from dam.services import Services

Pixels = Annotated[int, Field(ge=16, le=8192)]
Quality = Annotated[int, Field(ge=1, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Jpeg(_Data):
    """JPEG, for everything that can show pictures at all. Transparent parts become white."""

    format: Literal["jpeg"]
    quality: Quality


class Webp(_Data):
    """WebP; ``effort`` 0 (fast) to 6 (small)."""

    format: Literal["webp"]
    quality: Quality
    effort: int = Field(default=2, ge=0, le=6)


class Avif(_Data):
    """AVIF; ``speed`` 0 (small) to 9 (fast)."""

    format: Literal["avif"]
    quality: Quality
    speed: int = Field(default=8, ge=0, le=9)


class Recipe(_Data):
    """How one rendition is made.

    :param title: what it is for, shown to people; changes no bytes.
    :param width: of the box in pixels.
    :param height: of the box in pixels.
    :param fit: ``inside`` keeps the whole picture, ``crop`` fills the box.
    :param least: longer side of a box of the same shape that is large enough, too, where a decoder gives such a size
        by itself.
    :param focus: what a crop is cut around: ``attention``, ``centre`` or a point as fractions of width and
        height.
    :param made_from: name of the recipe whose picture this one is made from (``from`` in the file).
    :param encode: format and its settings.
    """

    name: str
    title: str = ""
    width: Pixels
    height: Pixels
    fit: Literal["inside", "crop"]
    least: Pixels | None = None
    focus: Literal["attention", "centre"] | tuple[Fraction, Fraction] | None = None
    made_from: str | None = Field(default=None, alias="from")
    encode: Annotated[Jpeg | Webp | Avif, Field(discriminator="format")]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.fit == "crop") != (self.focus is not None):
            raise ValueError("`focus` belongs to `fit: crop`, and a crop needs one")
        if self.least and (self.fit == "crop" or self.made_from):
            raise ValueError("`least` belongs to `fit: inside`, and to what is made from the original")
        if self.least and self.least > max(self.width, self.height):
            raise ValueError("`least` is larger than the box")
        return self

    @property
    def least_box(self) -> tuple[int, int]:
        """Width and height of the smallest box that is large enough."""
        longer = max(self.width, self.height)
        least = self.least or longer
        return round(self.width * least / longer), round(self.height * least / longer)

    @property
    def media_type(self) -> str:
        """Media type of what it makes."""
        return f"image/{self.encode.format}"

    @property
    def suffix(self) -> str:
        """File name extension of what it makes, with its dot."""
        return ".jpg" if self.encode.format == "jpeg" else f".{self.encode.format}"

    def cuts(self, width: int | None, height: int | None) -> bool:
        """Return whether it leaves something of a picture of this shape out; a smaller one or another format doesn't.

        :param width: of the upright picture in pixels; None when it isn't known, which counts as any shape.
        """
        return self.fit == "crop" and (not width or not height or width * self.height != height * self.width)

    def fingerprint(self, recipes: dict[str, Recipe]) -> dict[str, Any]:
        """Return everything that changes the bytes, as JSON-able data: not the name, not the title.

        :param recipes: all recipes, to look up the one it is made from.
        """
        own = self._told(exclude={"name", "title", "made_from"})
        if self.made_from:
            own["from"] = recipes[self.made_from]._told(include={"width", "height", "fit", "least"})
        return own

    def _told(self, *, include: set[str] | None = None, exclude: set[str] | None = None) -> dict[str, Any]:
        told = self.model_dump(mode="json", include=include, exclude=exclude)
        if self.least is None:  # what was made before there was such a thing stays valid
            del told["least"]
        return told


_FILE = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Recipe])


def load(services: Services) -> dict[str, Recipe]:
    """Return the recipes of the include folder by name.

    :raises BadInput: the file is missing or wrong; every fault is named with its line and what to do.
    """
    return read(services.settings.include / "templates" / "recipes.yaml")


def read(path: Path) -> dict[str, Recipe]:
    """Return the recipes of one file by name.

    :raises BadInput: see :func:`load`.
    """
    try:
        content = path.read_text(encoding="utf-8")
        tree = yaml.compose(content, Loader=yaml.CSafeLoader)
        data = yaml.load(content, Loader=yaml.CSafeLoader)
    except FileNotFoundError as error:
        raise BadInput("is missing", where=str(path), remedy="Restore it from the repository.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(
            f"is not YAML: {error.problem}", where=f"{path}:{line}", remedy="Mend the indentation or quotes."
        ) from error
    if not isinstance(data, dict):
        raise BadInput("holds no recipes", where=f"{path}:1", remedy="Write `name:` and its settings below.")
    named = {name: {**recipe, "name": name} if isinstance(recipe, dict) else recipe for name, recipe in data.items()}
    faults: list[tuple[tuple[str | int, ...], str]] = []
    recipes: dict[str, Recipe] = {}
    try:
        recipes = _FILE.validate_python(named)
    except ValidationError as error:
        faults = [(fault["loc"], fault["msg"]) for fault in error.errors()]
    for recipe in recipes.values():
        if problem := _wrong_parent(recipe, recipes):
            faults.append(((recipe.name, "from"), problem))
    if faults:
        told = [f"line {_line(tree, place)}, {_spoken(place)}: {problem}" for place, problem in faults]
        raise BadInput(
            "; ".join(told),
            where=f"{path}:{_line(tree, faults[0][0])}",
            remedy="Set the named fields right; the head of the file tells what each may hold.",
        )
    return recipes


def _wrong_parent(recipe: Recipe, recipes: dict[str, Recipe]) -> str | None:
    """Say why ``from`` can't work: one step, from a whole picture that is large enough."""
    if recipe.made_from is None:
        return None
    parent = recipes.get(recipe.made_from)
    if parent is None:
        return f"there is no recipe {recipe.made_from!r}; known are {', '.join(sorted(recipes))}"
    if parent.made_from or parent.fit != "inside":
        return f"{recipe.made_from!r} must itself be `fit: inside` and made from the original"
    if max(recipe.width, recipe.height) > min(parent.least_box):
        return f"{recipe.made_from!r} is smaller than this recipe"
    return None


def _spoken(place: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in place if part not in ("[key]", "jpeg", "webp", "avif"))


def _line(tree: yaml.Node | None, place: tuple[str | int, ...]) -> int:
    """Return the line (from 1) of the deepest part of ``place`` that is in the file."""
    line, node = 1, tree
    for part in place:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                line, node = key.start_mark.line + 1, value
    return line
