"""Taggers: whatever says which terms fit a version. One small interface, whether free and here or paid and far away.

Which ones are asked, in which order, and what each may cost, is ``include/taxonomy/taggers.yaml``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from dam.errors import BadInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.services import Services
    from dam.taxonomy import Taxonomy
    from dam.taxonomy.taggers import TaggerData

#: Our taggers by name: where each is.
KNOWN = {
    "embedded": "dam.enrich.taggers.words:Embedded",
    "filename": "dam.enrich.taggers.words:Filename",
    "brief": "dam.enrich.taggers.words:Brief",
    "text": "dam.enrich.taggers.words:Text",
    "visible": "dam.enrich.taggers.visible:Visible",
    "learned": "dam.enrich.taggers.learned:Learned",
    "detected": "dam.enrich.taggers.detected:Detected",
    "ocr": "dam.enrich.taggers.ocr:Ocr",
    "rekognition": "dam.enrich.taggers.rekognition:Rekognition",
    "onnx": "dam.enrich.taggers.onnx:Onnx",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A tagger's word: the term, how sure it is (0..1), and why.

    :param version: of the model, where only its answer tells it; otherwise the tagger's own.
    """

    term_id: str
    confidence: float
    because: str = ""
    version: str = ""


class Options(BaseModel):
    """What a tagger is told in ``options``; none unless it says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Failed(Exception):
    """A tagger could not say anything of a version; the message is for people.

    :param billed: whether the call may have cost money all the same.
    """

    def __init__(self, why: str, *, billed: bool = True) -> None:
        super().__init__(why)
        self.billed = billed


class Tagger(Protocol):
    """What says which terms fit a version. Subclass it and name the class in ``taggers.yaml``.

    ``slow`` ones (and all that cost money) are asked after the gate, once a version and model version.
    """

    slow: ClassVar[bool] = False
    options_model: ClassVar[type[Options]] = Options
    services: Services
    data: TaggerData
    options: Any
    name: str
    cost: Decimal

    def __init__(self, services: Services, data: TaggerData, options: Any) -> None:
        self.services, self.data, self.options = services, data, options
        self.name = data.name
        self.cost = data.cost

    @property
    def model(self) -> str:
        """What in the tagger says so, e.g. the name of a model."""
        return self.name

    @property
    def version(self) -> str:
        """Version of tagger and model: a tag of another version may be another tag."""
        ...

    def prepare(self) -> None:
        """Get ready; called before a round of versions."""
        return None

    def unready(self) -> str | None:
        """Return why it can say nothing here at all, or None when it can."""
        return None

    def trusted(self) -> bool:
        """Return whether its tags may be applied; all of them are suggestions otherwise."""
        return True

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return the terms that fit a version. Reads only. :raises Failed: it could not tell this time."""
        ...


def make(services: Services, data: TaggerData) -> Tagger:
    """Return a tagger. :raises BadInput: nobody knows its name or class, or its options don't fit."""
    where = f"{services.taxonomy.folder / 'taggers.yaml'}: {data.name}"
    address = data.tagger or KNOWN.get(data.name)
    if address is None:
        near = difflib.get_close_matches(data.name, KNOWN, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise BadInput(
            f"no tagger is named {data.name!r}",
            where=where,
            remedy=f"{hint}Use one of {', '.join(KNOWN)}, or add class: module:Class.",
        )
    module, _, name = address.partition(":")
    try:
        found: type[Tagger] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"can't be loaded: {error}", where=where, remedy="Write class: module:Class.") from error
    try:
        options = found.options_model.model_validate(data.options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("options", *first["loc"]))
        known = ", ".join(found.options_model.model_fields) or "none"
        raise BadInput(f"{field}: {first['msg']}", where=where, remedy=f"Its options: {known}.") from error
    return found(services, data, options)


def enabled(services: Services) -> list[Tagger]:
    """Return the taggers that are switched on, in their order."""
    return [make(services, data) for data in services.taxonomy.taggers.taggers if data.enabled]


def named(services: Services, names: Iterable[str]) -> list[Tagger]:
    """Return taggers by name, whether switched on or not. :raises BadInput: ``taggers.yaml`` has no such tagger."""
    known = {data.name: data for data in services.taxonomy.taggers.taggers}
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise BadInput(
                f"taggers.yaml has no tagger {name!r}", where="--tagger", remedy=f"Use one of: {', '.join(known)}."
            )
        found.append(make(services, known[name]))
    return found


def afterwards(tagger: Tagger) -> bool:
    """Return whether a tagger is asked after the gate: it is slow, or costs money, or has a budget."""
    return tagger.slow or counted(tagger)


def counted(tagger: Tagger) -> bool:
    """Return whether a tagger's calls are counted: they cost money, or there is a budget."""
    return tagger.cost > 0 or any(limit is not None for limit in tagger.data.budget.model_dump().values())


def threshold(services: Services, tagger: Tagger) -> float:
    """Return the confidence below which a tagger's tags are suggestions."""
    own = tagger.data.threshold
    return services.taxonomy.limits.tag_threshold if own is None else own
