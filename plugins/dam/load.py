"""Reads a YAML file into a pydantic model; a fault names file, line and the likely fix."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dam.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


class Mistake(ValueError):
    """A value that a validator refuses, with what to do about it."""

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class _Loader(yaml.CSafeLoader):
    """YAML as it is, but a key that stands twice is a fault: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in lines:
                    problem = f"{key.value!r} stands here and in line {lines[key.value]} already"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                lines[key.value] = line
        return super().construct_mapping(node, deep)


def load(path: Path, model: type[Model]) -> Model:
    """Return the file's content as a ``model``.

    :raises BadInput: it is missing, no YAML, or does not fit the model.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput("does not exist", where=str(path), remedy="Restore it from the repository.") from None
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, and stricter
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{error.problem}", where=f"{path}:{line}", remedy="Mend the YAML there.") from error
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise fault(path, text, error, model) from error


def fault(path: Path, text: str, error: ValidationError, model: type[BaseModel]) -> BadInput:
    """Turn a model's first complaint into an error with file, line and remedy."""
    first = error.errors()[0]
    loc = first["loc"]
    message = first["msg"].removeprefix("Value error, ")
    remedy = getattr(first.get("ctx", {}).get("error"), "remedy", "Mend that line.")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), _names(model), n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else "Remove it."
    elif first["type"] == "missing":
        remedy = f"Add {loc[-1]!r} there."
    field = ".".join(str(part) for part in loc if part != "[key]")
    return BadInput(f"{field}: {message}.", where=f"{path}:{line_of(text, loc)}", remedy=remedy)


def _names(model: type[BaseModel]) -> list[str]:
    """Return the field names of a model and of the models inside it."""
    found: list[str] = []
    todo: list[Any] = [model]
    while todo:
        current = todo.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            for name, field in current.model_fields.items():
                found.append(field.alias or name)
                todo.append(field.annotation)
        else:
            todo.extend(getattr(current, "__args__", ()))
    return found


def line_of(text: str, loc: tuple[Any, ...]) -> int:
    """Return the 1-based line of the node at ``loc``, or of its closest parent that is there.

    Parts that the file does not spell out, such as a default, are passed over.
    """
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    line = 1
    for part in loc:
        found = None
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is not None:
                line, found = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        node = node if found is None else found
    return line
