"""Vocabulary, metadata schema, naming, rights and contracts: the data of ``include/taxonomy``."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from dam.load import load
from dam.taxonomy import contracts as contract_files
from dam.taxonomy import files
from dam.taxonomy.contracts import Contract
from dam.taxonomy.mirror import sync_terms
from dam.taxonomy.taggers import TaggersData
from dam.taxonomy.vocabulary import Language, TermData, Vocabulary

__all__ = [
    "Contract", "FieldData", "LicenceData", "Limits", "MetadataSchema", "RightsData", "TaggersData",
    "Taxonomy", "TermData", "Vocabulary", "sync_terms",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stopwords(RootModel[dict[Language, list[str]]]):
    """Words by language that say nothing of a picture."""


class FieldData(_Strict):
    """A descriptive field: its IPTC name, and the keys of raw metadata it stands under, by family."""

    iptc: str
    exif: list[str] = []
    xmp: list[str] = []
    iim: list[str] = []
    other: list[str] = []


class MetadataSchema(_Strict):
    """All descriptive fields, what values say nothing, and where keywords and licence stand."""

    fields: dict[str, FieldData]
    meaningless: list[str] = []
    keywords: list[str]
    licence: list[str]

    @field_validator("meaningless")
    @classmethod
    def _are_patterns(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return values


class Limits(_Strict):
    """What the gate refuses and where it draws lines."""

    max_megapixels: float = Field(gt=0)
    max_seconds: float = Field(gt=0)
    max_bytes: int = Field(gt=0)
    decoder_bytes: int = Field(gt=0)
    archive_max_bytes: int = Field(gt=0)
    archive_max_depth: int = Field(ge=1, le=10)
    unscanned: Literal["pass", "block"]
    scan_max_bytes: int = Field(ge=0)
    max_pages: int = Field(gt=0)
    page_proofs: int = Field(ge=1)
    max_text: int = Field(ge=0, le=300_000)
    max_drawing_bytes: int = Field(gt=0)
    max_drawing_px: float = Field(gt=0)
    max_unpacked_files: int = Field(gt=0)
    max_unpacked_bytes: int = Field(gt=0)
    max_unpacked_ratio: float = Field(ge=1)
    max_faces: int = Field(gt=0)
    near_duplicate_bits: int = Field(ge=0, le=32)
    quiet_seconds: float = Field(ge=0)
    settle_seconds: float = Field(ge=0)
    litter: list[str] = []
    generated_bytes: int = Field(gt=0)
    tag_threshold: float = Field(ge=0, le=1)


class LicenceData(_Strict):
    """A licence that is known by what files say, or that a sender's files have."""

    reference: str
    holder: str
    kind: Literal["owned", "rights_managed", "royalty_free", "public_domain", "creative_commons"]
    territories: list[str] = ["*"]
    channels: list[str] = ["*"]
    permissions: list[Literal["*", "distribute", "modify", "derive"]] = ["*"]
    duties: list[Literal["attribute", "inform", "compensate", "obtainConsent"]] = []
    max_count: int | None = Field(default=None, gt=0)
    pattern: str = ""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class Commissioned(_Strict):
    """What a campaign's own people make: by which roles of its owners, and under which licence."""

    roles: list[str]
    licence: LicenceData


class RightsData(_Strict):
    """Known licences."""

    embedded: list[LicenceData] = []
    commissioned: Commissioned | None = None
    senders: dict[str, LicenceData] = {}


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
    def contracts(self) -> dict[str, dict[str, Contract]]:
        """The contracts by stage and kind. :raises BadInput: a fault, with file and line."""
        return contract_files.read(self.folder / "contracts", self.metadata, self.vocabulary)

    def contract(self, stage: str, kind: str) -> Contract | None:
        """Return the contract that a kind of asset is held to at a stage: its own, else the one of ``*``."""
        of_stage = self.contracts.get(stage, {})
        return of_stage.get(kind) or of_stage.get("*")

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
            f"{sum(map(len, self.contracts.values()))} contracts",
            f"limits up to {self.limits.max_megapixels:g} megapixels",
            f"{len(self.stopwords)} stop words",
            "taggers: " + ", ".join(tagger.name for tagger in self.taggers.taggers if tagger.enabled),
        ]
