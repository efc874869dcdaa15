"""Contracts as data: which fields they can look at, which rules there are, and what a rule says in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dam.errors import BadInput
from dam.load import line_of, load

if TYPE_CHECKING:
    from dam.taxonomy import MetadataSchema, Vocabulary

Kind = Literal["text", "number", "date", "words"]
RuleName = Literal[
    "present", "at_least", "at_most", "longest", "shortest", "matches", "not_matches", "one_of", "includes", "term_of"
]
#: What can be looked at beside the descriptive fields and the tags. ``words`` is a list; ``yes`` or ``no`` is text.
FACTS: dict[str, Kind] = {
    "filename": "text", "named_by_convention": "text", "media_type": "text", "scan": "text", "made_by_ai": "text",
    "width": "number", "height": "number", "seconds": "number", "pages": "number", "bytes": "number",
    "licence": "words", "licence_kind": "words", "territories": "words", "channels": "words", "permissions": "words",
    "duties": "words", "starts_on": "date", "ends_on": "date", "days_left": "number", "model_release": "text",
    "property_release": "text", "tags": "words",
}  # fmt: skip
#: Which kinds of field a rule can be asked of.
_ASKED_OF: dict[str, tuple[Kind, ...]] = {
    "present": ("text", "number", "date", "words"),
    "at_least": ("number", "date", "words"),
    "at_most": ("number", "date", "words"),
    "longest": ("text",),
    "shortest": ("text",),
    "matches": ("text",),
    "not_matches": ("text",),
    "one_of": ("text", "number", "words"),
    "includes": ("words",),
    "term_of": ("text", "words"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Strict):
    """When a rule is asked at all: a field is there and keeps a rule of its own."""

    field: str
    rule: RuleName
    value: Any = None


class Rule(Condition):
    """One rule of a contract.

    A field that is not there breaks only ``present``; a list is always there, though it may be empty.

    :param severity: what breaks a ``must`` rule is incomplete; a ``should`` rule is shown and holds nothing up.
    """

    remedy: str = Field(min_length=1)
    severity: Literal["must", "should"] = "must"
    when: Condition | None = None


class Contract(_Strict):
    """What versions of a kind must have at a stage; kind ``*`` means all that have no own contract."""

    stage: Literal["ingest", "activate"]
    kind: str
    rules: list[Rule] = Field(min_length=1)

    @property
    def name(self) -> str:
        """Stage and kind, as results are kept under."""
        return f"{self.stage}/{self.kind}"


def read(folder: Path, schema: MetadataSchema, vocabulary: Vocabulary) -> dict[str, dict[str, Contract]]:
    """Return the contracts of a folder by stage and kind.

    :raises BadInput: a fault; says file, line and what may have been meant.
    """
    known = fields(schema, vocabulary)
    found: dict[str, dict[str, Contract]] = {}
    for path in sorted(folder.glob("*.yaml")):
        contract = load(path, Contract)
        if contract.kind in found.setdefault(contract.stage, {}):
            raise BadInput(
                f"{contract.name} has two contracts", where=f"{path}:{_line(path, 'kind')}", remedy="Keep one of them."
            )
        for number, rule in enumerate(contract.rules):
            for condition, at in ((rule, ()), (rule.when, ("when",))):
                if condition is not None:
                    _check(condition, known, vocabulary, path, ("rules", number, *at))
        found[contract.stage][contract.kind] = contract
    return found


def fields(schema: MetadataSchema, vocabulary: Vocabulary) -> dict[str, Kind]:
    """Return every field that contracts can look at, with its kind."""
    facets = [f"tags.{facet}" for facet in vocabulary.facets]
    return {name: kind_of(name) for name in (*schema.fields, *FACTS, *facets)}


def kind_of(field: str) -> Kind:
    """Return the kind of a field that contracts can look at."""
    if field.startswith("tags."):
        return "words"
    return "date" if field == "date_created" else FACTS.get(field, "text")


def _line(path: Path, *loc: Any) -> int:
    return line_of(path.read_text(encoding="utf-8"), loc)


def _check(asked: Condition, known: dict[str, Kind], vocabulary: Vocabulary, path: Path, loc: tuple[Any, ...]) -> None:
    """Refuse a rule of an unknown field, one that can't be asked of its field, and a value it can't use."""

    def fault(part: str, what: str, remedy: str) -> BadInput:
        return BadInput(f"{part}: {what}", where=f"{path}:{_line(path, *loc, part)}", remedy=remedy)

    kind = known.get(asked.field)
    if kind is None:
        near = difflib.get_close_matches(asked.field, known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Use one of: {', '.join(sorted(known))}."
        raise fault("field", f"{asked.field!r} is no field that contracts can look at", remedy)
    if kind not in _ASKED_OF[asked.rule]:
        fitting = [name for name, kinds in _ASKED_OF.items() if kind in kinds]
        raise fault("rule", f"{asked.rule} can't be asked of {asked.field}", f"Use one of: {', '.join(fitting)}.")
    problem, remedy = _value_fault(asked, kind, vocabulary)
    if problem:
        raise fault("value", problem, remedy)


def _value_fault(asked: Condition, kind: Kind, vocabulary: Vocabulary) -> tuple[str, str]:
    """Return what is wrong with a rule's value and how to mend it; two empty texts when nothing is."""
    value = asked.value
    if asked.rule == "present":
        return ("", "") if value is None else ("present needs none", "Remove it.")
    if asked.rule == "term_of":
        return _facet_fault(value, vocabulary)
    if asked.rule in ("matches", "not_matches"):
        return _pattern_fault(value)
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "includes": (lambda v: isinstance(v, str) and bool(v), "a word, like attribute"),
        "one_of": (
            lambda v: isinstance(v, list) and bool(v) and all(_is_number(word) == (kind == "number") for word in v),
            "a list, like [a, b]" if kind != "number" else "a list of numbers, like [1, 2]",
        ),
        "longest": (lambda v: _is_count(v), "a whole number of characters"),
        "shortest": (lambda v: _is_count(v), "a whole number of characters"),
    }
    bounds = {
        "date": (lambda v: isinstance(v, date), "a date, like 2027-03-01"),
        "words": (lambda v: _is_count(v), "how many, a whole number"),
    }
    number = (_is_number, "a number")
    fits, like = checks.get(asked.rule) or bounds.get(kind, number)
    return ("", "") if fits(value) else (f"{value!r} can't be used with {asked.rule}", f"Write {like}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _facet_fault(value: Any, vocabulary: Vocabulary) -> tuple[str, str]:
    if value in vocabulary.facets:
        return "", ""
    near = difflib.get_close_matches(str(value), vocabulary.facets, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Use one of: {', '.join(sorted(vocabulary.facets))}."
    return f"{value!r} is no facet of the vocabulary", remedy


def _pattern_fault(value: Any) -> tuple[str, str]:
    if not isinstance(value, str) or not value:
        return f"{value!r} is no pattern", "Write a regular expression, in quotes."
    try:
        re.compile(value)
    except re.error as error:
        return f"{value!r} is no regular expression: {error}", "Mend it."
    return "", ""


def choices(value: Any) -> list[Any]:
    """Return the values of ``one_of``; YAML's true and false are the words yes and no."""
    return [{True: "yes", False: "no"}[word] if isinstance(word, bool) else word for word in value]


def label(field: str) -> str:
    """Return a field's name as people read it."""
    facet = field.removeprefix("tags.")
    return f"tags of {facet}" if facet != field else field.replace("_", " ")


def in_words(asked: Condition) -> str:
    """Return what a rule expects, and when, as a sentence without a full stop."""
    text = _expected(asked)
    if isinstance(asked, Rule) and asked.when is not None:
        text = f"when {_expected(asked.when)}: {text}"
    return text[0].upper() + text[1:]


def _expected(asked: Condition) -> str:
    name, value = label(asked.field), asked.value
    told: dict[str, Callable[[], str]] = {
        "present": lambda: f"{name} is there",
        "at_least": lambda: f"{name}: at least {value}",
        "at_most": lambda: f"{name}: at most {value}",
        "longest": lambda: f"{name} has at most {value} characters",
        "shortest": lambda: f"{name} has at least {value} characters",
        "matches": lambda: f"{name} looks like {value}",
        "not_matches": lambda: f"{name} does not look like {value}",
        "one_of": lambda: f"{name} is one of: {', '.join(map(str, choices(value)))}",
        "includes": lambda: f"{name} includes {value}",
        "term_of": lambda: f"{name} is a term of the facet {value}",
    }
    return told[asked.rule]()
