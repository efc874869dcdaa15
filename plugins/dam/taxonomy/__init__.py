"""Vocabulary, metadata schema, naming, rights and contracts: the data of ``include/taxonomy``."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dam.errors import BadInput
from dam.taxonomy import contracts as contract_files
from dam.taxonomy.contracts import Contract
from dam.taxonomy.load import line_of, load

if TYPE_CHECKING:
    from dam.services import Services

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TermData(_Strict):
    """A term: preferred labels by language, other labels, the term above it, what it covers."""

    en: str = Field(min_length=1)
    de: str | None = None
    alt: dict[str, list[str]] = {}
    broader: Slug | None = None
    note: str | None = None
    replaced_by: Slug | None = None

    def labels(self) -> list[str]:
        """Return every label, preferred ones first."""
        own = [self.en, *([self.de] if self.de else [])]
        return [*own, *(word for words in self.alt.values() for word in words)]


class Vocabulary(_Strict):
    """Facets of terms."""

    facets: dict[Slug, dict[Slug, TermData]]

    @cached_property
    def by_label(self) -> dict[str, str]:
        """Lower-case label → term id (``facet/slug``); the first facet that has a label wins."""
        found: dict[str, str] = {}
        for facet, terms in self.facets.items():
            for slug, term in terms.items():
                target = f"{facet}/{term.replaced_by or slug}"
                for label in term.labels():
                    found.setdefault(label.casefold(), target)
        return found

    def find(self, word: str) -> str | None:
        """Return the id of the term a word names, in any language; a plain plural counts too."""
        word = " ".join(word.casefold().split())
        return self.by_label.get(word) or (self.by_label.get(word[:-1]) if word.endswith("s") else None)

    def __contains__(self, term_id: str) -> bool:
        facet, _, slug = term_id.partition("/")
        return slug in self.facets.get(facet, {})


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
    archive_max_files: int = Field(gt=0)
    archive_max_bytes: int = Field(gt=0)
    archive_max_ratio: float = Field(gt=1)
    archive_max_depth: int = Field(ge=1, le=10)
    unscanned: Literal["pass", "block"]
    scan_max_bytes: int = Field(ge=0)
    max_pages: int = Field(gt=0)
    page_proofs: int = Field(ge=1)
    max_text: int = Field(ge=0, le=300_000)
    max_drawing_bytes: int = Field(gt=0)
    max_drawing_px: float = Field(gt=0)
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
    """Everything of ``include/taxonomy``; each file is read on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def load(cls, folder: Path) -> Taxonomy:
        """Return the taxonomy of a folder."""
        return cls(folder)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The controlled vocabulary. :raises BadInput: a fault, with file and line."""
        path = self.folder / "vocabulary.yaml"
        vocabulary = load(path, Vocabulary)
        for facet, terms in vocabulary.facets.items():
            for slug, term in terms.items():
                for name in ("broader", "replaced_by"):
                    target = getattr(term, name)
                    if target is not None and target not in terms:
                        line = line_of(path.read_text(encoding="utf-8"), ("facets", facet, slug))
                        raise BadInput(
                            f"{name} names {target!r}, which is no term of the facet {facet}",
                            where=f"{path}:{line}",
                            remedy=f"Use one of: {', '.join(sorted(terms))}.",
                        )
        return vocabulary

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
        return [
            f"{sum(map(len, vocabulary.facets.values()))} terms in {len(vocabulary.facets)} facets",
            f"{len(self.metadata.fields)} descriptive fields",
            f"{len(self.rights.embedded)} known licences",
            f"{sum(map(len, self.contracts.values()))} contracts",
            f"limits up to {self.limits.max_megapixels:g} megapixels",
        ]


def sync_terms(services: Services) -> int:
    """Mirror the vocabulary into the catalogue and return how many terms it has; idempotent.

    Terms that left the file stay in the catalogue, deprecated, as tags may point at them.
    """
    from sqlalchemy import update
    from sqlalchemy.dialects.postgresql import insert

    from dam.catalog.models import Term

    vocabulary = services.taxonomy.vocabulary
    rows = [
        {
            "id": f"{facet}/{slug}",
            "facet": facet,
            "labels": {"en": term.en} | ({"de": term.de} if term.de else {}),
            "alt_labels": term.alt,
            "broader_id": None,
            "scope_note": term.note,
            "replaced_by_id": None,
            "deprecated": term.replaced_by is not None,
        }
        for facet, terms in sorted(vocabulary.facets.items())
        for slug, term in sorted(terms.items())
    ]
    links = {
        f"{facet}/{slug}": {
            "broader_id": f"{facet}/{term.broader}" if term.broader else None,
            "replaced_by_id": f"{facet}/{term.replaced_by}" if term.replaced_by else None,
        }
        for facet, terms in sorted(vocabulary.facets.items())
        for slug, term in sorted(terms.items())
    }
    with services.session() as session:
        statement = insert(Term).values(rows)
        same = {
            name: statement.excluded[name] for name in ("facet", "labels", "alt_labels", "scope_note", "deprecated")
        }
        session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=same))
        for term_id, values in links.items():
            if any(values.values()):
                session.execute(update(Term).where(Term.id == term_id).values(**values))
        session.execute(update(Term).where(Term.id.not_in(list(links))).values(deprecated=True))
    return len(rows)
