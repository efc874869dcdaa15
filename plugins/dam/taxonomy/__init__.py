"""Vocabulary, metadata schema, naming, rights and contracts: the data of ``include/taxonomy``."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from dam.taxonomy import files
from dam.taxonomy.load import load
from dam.taxonomy.mirror import sync_terms
from dam.taxonomy.taggers import TaggersData
from dam.taxonomy.vocabulary import Language, TermData, Vocabulary

__all__ = [
    "Contract", "FieldData", "LicenceData", "Limits", "MetadataSchema", "RightsData", "Rule", "TaggersData",
    "Taxonomy", "TermData", "Vocabulary", "sync_terms",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stopwords(RootModel[dict[Language, list[str]]]):
    """Words by language that say nothing of a picture."""


class FieldData(_Strict):
    """A descriptive field: its IPTC name and its sources in a file, the first filled one wins."""

    iptc: str
    sources: list[str] = Field(alias="from", min_length=1)


class MetadataSchema(_Strict):
    """All descriptive fields, and where keywords and licence stand."""

    fields: dict[str, FieldData]
    keywords: list[str]
    licence: list[str]


class Limits(_Strict):
    """What the gate refuses and where it draws lines."""

    max_megapixels: float = Field(gt=0)
    max_bytes: int = Field(gt=0)
    decoder_bytes: int = Field(gt=0)
    near_duplicate_bits: int = Field(ge=0, le=32)
    quiet_seconds: float = Field(ge=0)
    tag_threshold: float = Field(ge=0, le=1)


class LicenceData(_Strict):
    """A licence that is known by what files say, or that a sender's files have."""

    reference: str
    holder: str
    kind: Literal["owned", "rights_managed", "royalty_free", "public_domain", "creative_commons"]
    territories: list[str] = ["*"]
    channels: list[str] = ["*"]
    pattern: str = ""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class RightsData(_Strict):
    """Known licences."""

    embedded: list[LicenceData] = []
    senders: dict[str, LicenceData] = {}


class Rule(_Strict):
    """One rule of a contract."""

    field: str
    rule: Literal["present", "at_least", "longest", "matches"]
    value: float | str | None = None
    remedy: str


class Contract(_Strict):
    """What versions of a kind must have at a stage; kind ``*`` means all that have no own contract."""

    stage: str
    kind: str
    rules: list[Rule] = Field(min_length=1)


class Taxonomy:
    """Everything of ``include/taxonomy``; each file is read on first use.

    :param vocabulary: one to use instead of the folder's, to see what it would change.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary | None = None) -> None:
        self.folder = folder
        self._vocabulary = vocabulary

    @classmethod
    def load(cls, folder: Path) -> Taxonomy:
        """Return the taxonomy of a folder."""
        return cls(folder)

    def with_vocabulary(self, vocabulary: Vocabulary) -> Taxonomy:
        """Return the same taxonomy with another vocabulary."""
        return Taxonomy(self.folder, vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The controlled vocabulary as its files are now. :raises BadInput: a fault, with file and line."""
        return self._vocabulary or files.read(self.folder)

    @cached_property
    def taggers(self) -> TaggersData:
        """The taggers, in their order."""
        return load(self.folder / "taggers.yaml", TaggersData)

    @cached_property
    def stopwords(self) -> frozenset[str]:
        """Words that say nothing of a picture, of all languages together."""
        words = load(self.folder / "stopwords.yaml", Stopwords).root
        return frozenset(word.casefold() for of_language in words.values() for word in of_language)

    @cached_property
    def metadata(self) -> MetadataSchema:
        """The descriptive fields."""
        return load(self.folder / "metadata.yaml", MetadataSchema)

    @cached_property
    def limits(self) -> Limits:
        """The gate's limits."""
        return load(self.folder / "limits.yaml", Limits)

    @cached_property
    def rights(self) -> RightsData:
        """The known licences."""
        return load(self.folder / "rights.yaml", RightsData)

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """The contracts of the ingest stage by kind."""
        found = [load(path, Contract) for path in sorted((self.folder / "contracts").glob("*.yaml"))]
        return {contract.kind: contract for contract in found if contract.stage == "ingest"}

    def check(self) -> list[str]:
        """Read everything and return what was read, a line each. :raises BadInput: the first fault."""
        vocabulary = self.vocabulary
        terms = vocabulary.terms.values()
        spoken = sorted({language for term in terms for _, language, _ in term.all_labels()})
        retired = sum(term.retired for term in terms)
        return [
            f"{len(terms)} terms in {len(vocabulary.facets)} facets, {retired} of them deprecated",
            f"{sum(len(list(term.all_labels())) for term in terms)} labels in {len(spoken)} languages: "
            + ", ".join(spoken),
            f"{len(self.metadata.fields)} descriptive fields",
            f"{len(self.rights.embedded)} known licences",
            f"{len(self.contracts)} contracts",
            f"limits up to {self.limits.max_megapixels:g} megapixels",
            f"{len(self.stopwords)} stop words",
            "taggers: " + ", ".join(tagger.name for tagger in self.taggers.taggers if tagger.enabled),
        ]
