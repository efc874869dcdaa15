"""The controlled vocabulary, SKOS in spirit: facets (concept schemes) of terms (concepts), in any language.

A term's id is ``facet/slug``. References inside a facet are slugs; ``related`` and ``replaced_by`` may name a
term of another facet by its id. What a single value must be is checked as it is read; what terms must be to each
other is checked by :func:`problems`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from dam.load import Mistake
from dam.taxonomy import languages

if TYPE_CHECKING:
    from dam.taxonomy.words import Matcher

#: What a note that names no language is written in, and labels are shown in where nobody asks otherwise.
LANGUAGE = "en"


class Strict(BaseModel):
    """A frozen model that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _text(value: str) -> str:
    """Return a note in Unicode's composed form, without control characters."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029]", "", unicodedata.normalize("NFC", value)).strip()


def _label(value: str) -> str:
    value = " ".join(_text(value).split())
    if not value:
        raise Mistake("a label is empty", remedy="Write a word, or remove it.")
    return value


def _uri(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`]+", value):
        raise Mistake(f"{value!r} is no URI", remedy="Write it like https://www.wikidata.org/entity/Q146.")
    return value


def _by_language(value: Any) -> Any:
    """Take a plain text as one in the default language."""
    return {LANGUAGE: value} if isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Reference = Annotated[str, Field(pattern=r"^([a-z0-9]+(-[a-z0-9]+)*/)?[a-z0-9]+(-[a-z0-9]+)*$")]
Language = Annotated[str, AfterValidator(languages.canonical)]
Label = Annotated[str, AfterValidator(_label)]
Uri = Annotated[str, AfterValidator(_uri)]
Texts = Annotated[dict[Language, Annotated[str, AfterValidator(_text)]], BeforeValidator(_by_language)]


def _shorthand(data: Any, fields: set[str]) -> Any:
    """Take keys that look like languages as preferred labels: ``{en: cat, fr: chat}``."""
    if not isinstance(data, dict):
        return data
    if False in data:
        raise Mistake("YAML reads a bare no as false", remedy='Write "no" in quotes, or nb or nn.')
    short = {key: value for key, value in data.items() if key not in fields and languages.looks_like(key)}
    if not short:
        return data
    rest = {key: value for key, value in data.items() if key not in short}
    return rest | {"labels": (rest.get("labels") or {}) | short}


class FacetData(Strict):
    """What a facet is: its name by language, what it is for, its URI where it is not the vocabulary's own."""

    labels: dict[Language, Label] = Field(default_factory=dict)
    note: Texts = Field(default_factory=dict)
    uri: Uri | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return _shorthand(data, set(cls.model_fields))


class TermData(Strict):
    """A term.

    :param labels: preferred label by language; in the file also without ``labels``, as ``en: cat``.
    :param alt: other labels by language. :param hidden: labels that are found but never shown, such as misspellings.
    :param broader: the terms above it, in its facet. :param related: terms that it goes with; counts both ways.
    :param note: scope note: when to use it. :param definition: what it means.
    :param matches: URIs of the same concept in other vocabularies (``skos:exactMatch``).
    :param deprecated: not to be used any more. :param replaced_by: the term to use instead; deprecates this one.
    :param uri: its own URI, where that is not namespace and id.
    """

    labels: dict[Language, Label] = Field(min_length=1)
    alt: dict[Language, list[Label]] = Field(default_factory=dict)
    hidden: dict[Language, list[Label]] = Field(default_factory=dict)
    broader: Annotated[list[Slug], BeforeValidator(_one_or_more)] = Field(default_factory=list)
    related: Annotated[list[Reference], BeforeValidator(_one_or_more)] = Field(default_factory=list)
    note: Texts = Field(default_factory=dict)
    definition: Texts = Field(default_factory=dict)
    matches: Annotated[list[Uri], BeforeValidator(_one_or_more)] = Field(default_factory=list)
    deprecated: bool = False
    replaced_by: Reference | None = None
    uri: Uri | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return _shorthand(data, set(cls.model_fields))

    @property
    def retired(self) -> bool:
        """Whether it is not to be used any more."""
        return self.deprecated or self.replaced_by is not None

    def all_labels(self) -> Iterator[tuple[int, str, str]]:
        """Yield rank (0 preferred, 1 alternative, 2 hidden), language and label."""
        for language, label in self.labels.items():
            yield 0, language, label
        for rank, more in ((1, self.alt), (2, self.hidden)):
            for language, words in more.items():
                for word in words:
                    yield rank, language, word


class Vocabulary(Strict):
    """Facets of terms; the order of the facets decides between terms that share a label.

    :param namespace: what a term's URI begins with, before ``facet/slug``.
    """

    namespace: Uri = "urn:dam:"
    about: dict[Slug, FacetData] = Field(default_factory=dict)
    facets: dict[Slug, dict[Slug, TermData]]

    @field_validator("facets")
    @classmethod
    def _some(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise Mistake("there is no facet", remedy="Add one with a term.")
        return value

    @cached_property
    def terms(self) -> dict[str, TermData]:
        """Every term by id."""
        return {f"{facet}/{slug}": term for facet, terms in self.facets.items() for slug, term in terms.items()}

    @cached_property
    def related(self) -> dict[str, list[str]]:
        """Term id → ids of the terms it goes with; both ways, wherever it is written."""
        pairs: dict[str, set[str]] = {}
        for term_id, term in self.terms.items():
            for reference in term.related:
                other = resolve(term_id, reference)
                pairs.setdefault(term_id, set()).add(other)
                pairs.setdefault(other, set()).add(term_id)
        return {term_id: sorted(others) for term_id, others in pairs.items()}

    @cached_property
    def narrower(self) -> dict[str, list[str]]:
        """Term id → ids of the terms right below it."""
        found: dict[str, list[str]] = {}
        for term_id, term in sorted(self.terms.items()):
            for slug in term.broader:
                found.setdefault(resolve(term_id, slug), []).append(term_id)
        return found

    def ancestors(self, term_id: str) -> set[str]:
        """Return the ids of all terms above one; itself too when the terms go round in a circle."""
        found: set[str] = set()
        todo = [term_id]
        while todo:
            current = todo.pop()
            term = self.terms.get(current)
            for above in (resolve(current, slug) for slug in (term.broader if term else ())):
                if above not in found:
                    found.add(above)
                    todo.append(above)
        return found

    def below(self, term_id: str) -> set[str]:
        """Return the ids of a term and of all terms below it."""
        found, todo = {term_id}, [term_id]
        while todo:
            for lower in self.narrower.get(todo.pop(), []):
                if lower not in found:
                    found.add(lower)
                    todo.append(lower)
        return found

    @cached_property
    def matcher(self) -> Matcher:
        """Finds terms in text."""
        from dam.taxonomy.words import Matcher

        return Matcher(self)

    def find(self, word: str, language: str | None = None) -> str | None:
        """Return the id of the term a word names, in any language; a plural counts too.

        Where several terms have the label, a preferred label goes before others, then the facets' order decides.
        """
        found = self.matcher.named(word, language)
        return found[0] if found else None

    def uri(self, term_id: str) -> str:
        """Return a term's URI."""
        return self.terms[term_id].uri or self.namespace + term_id

    def facet_uri(self, facet: str) -> str:
        """Return a facet's URI."""
        told = self.about.get(facet)
        return (told.uri if told else None) or self.namespace + facet

    def shown(self, term_id: str, language: str = LANGUAGE) -> str:
        """Return a term's label for people; an unknown term's id."""
        term = self.terms.get(term_id)
        return shown(term.labels, language) if term else term_id

    def current(self, term_id: str) -> str | None:
        """Return the term to use for an id: itself, what replaces it, or None when there is none."""
        term = self.terms.get(term_id)
        if term is None or not term.retired:
            return term_id if term else None
        return resolve(term_id, term.replaced_by) if term.replaced_by else None

    def __contains__(self, term_id: str) -> bool:
        return term_id in self.terms

    def content(self, term_id: str) -> dict[str, Any]:
        """Return what a term says, in one form however it was written: ids for references, lists sorted."""
        term = self.terms[term_id]
        told: dict[str, Any] = {
            "labels": term.labels,
            "alt": {language: sorted(set(words)) for language, words in term.alt.items() if words},
            "hidden": {language: sorted(set(words)) for language, words in term.hidden.items() if words},
            "broader": sorted({resolve(term_id, slug) for slug in term.broader}),
            "related": self.related.get(term_id, []),
            "note": {language: text for language, text in term.note.items() if text},
            "definition": {language: text for language, text in term.definition.items() if text},
            "matches": sorted(set(term.matches)),
            "deprecated": term.retired,
            "replaced_by": resolve(term_id, term.replaced_by) if term.replaced_by else None,
            "uri": term.uri if term.uri != self.namespace + term_id else None,
        }
        return {name: value for name, value in told.items() if value}

    @cached_property
    def contents(self) -> dict[str, dict[str, Any]]:
        """:meth:`content` of every term by id."""
        return {term_id: self.content(term_id) for term_id in self.terms}

    @cached_property
    def facet_contents(self) -> dict[str, dict[str, Any]]:
        """What each facet says of itself, in the facets' order."""
        known = {facet: self.about.get(facet, FacetData()).model_dump() for facet in self.facets}
        return {facet: {name: value for name, value in told.items() if value} for facet, told in known.items()}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of all it says; the same however the files are laid out."""
        told = [self.namespace, list(self.facet_contents.items()), self.contents]
        canonical = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def from_contents(contents: dict[str, dict[str, Any]], facets: dict[str, dict[str, Any]], namespace: str) -> Vocabulary:
    """Return the vocabulary that told ``contents`` and ``facet_contents``."""
    by_facet: dict[str, dict[str, Any]] = {facet: {} for facet in facets}
    for term_id, content in contents.items():
        facet, _, slug = term_id.partition("/")
        known = dict(content)
        if "broader" in known:
            known["broader"] = [other.partition("/")[2] for other in known["broader"]]
        by_facet.setdefault(facet, {})[slug] = known
    about = {facet: told for facet, told in facets.items() if told}
    return Vocabulary.model_validate({"namespace": namespace, "about": about, "facets": by_facet})


def resolve(term_id: str, reference: str) -> str:
    """Return the id that a reference of a term means."""
    return reference if "/" in reference else f"{term_id.partition('/')[0]}/{reference}"


def shown(labels: dict[str, Any], language: str = LANGUAGE) -> str:
    """Return the label to show to somebody: theirs, their language's, the default's, or any."""
    own = (label for tag, label in sorted(labels.items()) if languages.primary(tag) == languages.primary(language))
    found = labels.get(language) or next(own, None) or labels.get(LANGUAGE) or next(iter(labels.values()), "")
    return str(found)


# ----------------------------------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault between terms: where in the file (keys from the top), what, and what to do."""

    loc: tuple[str | int, ...]
    what: str
    remedy: str


def problems(vocabulary: Vocabulary) -> list[Problem]:
    """Return what is wrong between the terms, in the file's order."""
    found: list[Problem] = []
    for facet in vocabulary.about:
        if facet not in vocabulary.facets:
            remedy = f"Use one of: {', '.join(vocabulary.facets)}."
            found.append(Problem(("about", facet), f"{facet} is no facet", remedy))
    preferred: dict[tuple[str, str, str], str] = {}
    addresses = {vocabulary.facet_uri(facet): facet for facet in vocabulary.facets}
    for term_id, term in vocabulary.terms.items():
        facet, _, slug = term_id.partition("/")
        other = addresses.setdefault(vocabulary.uri(term_id), term_id)
        if other != term_id:
            what = f"{term_id} has the same URI as {other}: {vocabulary.uri(term_id)}"
            found.append(Problem(("facets", facet, slug, "uri"), what, "Give one of them a URI of its own."))
        at = ("facets", facet, slug)
        found += [Problem((*at, *loc), what, remedy) for loc, what, remedy in _references(vocabulary, term_id, term)]
        found += [Problem((*at, *loc), what, remedy) for loc, what, remedy in _labels(term)]
        for language, label in term.labels.items():
            first = preferred.setdefault((facet, language, label.casefold()), term_id)
            if first != term_id and not term.retired and not vocabulary.terms[first].retired:
                found.append(
                    Problem(
                        (*at, "labels", language),
                        f"{label!r} is the preferred label ({language}) of {first} already",
                        "Make it an alternative label (alt) of one of them, or qualify it, as in “bank (river)”.",
                    )
                )
    return found


_Found = Iterator[tuple[tuple[str | int, ...], str, str]]


def _references(vocabulary: Vocabulary, term_id: str, term: TermData) -> _Found:
    for name, references in (
        ("broader", term.broader),
        ("related", term.related),
        ("replaced_by", [term.replaced_by] if term.replaced_by else []),
    ):
        for reference in references:
            other = resolve(term_id, reference)
            if other not in vocabulary.terms:
                yield (name,), *_unknown(vocabulary, term_id, name, reference)
            elif other == term_id:
                yield (name,), f"{name} names the term itself", "Remove it."
            elif name == "replaced_by" and vocabulary.terms[other].retired:
                final = vocabulary.terms[other].replaced_by
                remedy = f"Name {resolve(other, final)}." if final else "Name a term that is in use."
                yield (name,), f"{term_id} is replaced by {other}, which is deprecated itself", remedy
    if circle := _circle(vocabulary, term_id):
        yield ("broader",), f"the broader terms go round in a circle: {' → '.join(circle)}", "Remove one of the steps."
        return
    kin = vocabulary.ancestors(term_id)
    for reference in term.related:
        other = resolve(term_id, reference)
        if other in kin or (other in vocabulary.terms and term_id in vocabulary.ancestors(other)):
            what = f"{other} is above or below {term_id}, so it can't be related to it as well (SKOS S27)"
            yield ("related",), what, "Remove it from related; broader says it already."


def _unknown(vocabulary: Vocabulary, term_id: str, name: str, reference: str) -> tuple[str, str]:
    facet = term_id.partition("/")[0]
    known = list(vocabulary.terms) if "/" in reference else list(vocabulary.facets[facet])
    near = difflib.get_close_matches(reference, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    few = f"{', '.join(sorted(known)[:30])}{', …' if len(known) > 30 else ''}"
    place = "" if "/" in reference else f" of the facet {facet}"
    return f"{name} names {reference!r}, which is no term{place}", f"{hint}Use one of: {few}."


def _circle(vocabulary: Vocabulary, term_id: str) -> list[str]:
    """Return the way from a term up to itself, or nothing; each circle is told once, at its first term."""
    if term_id not in (above := vocabulary.ancestors(term_id)):
        return []
    if term_id != min(t for t in above if t in vocabulary.ancestors(t)):
        return []
    todo = [[term_id]]
    while todo:
        way = todo.pop(0)
        for slug in vocabulary.terms[way[-1]].broader:
            above_id = resolve(way[-1], slug)
            if above_id == term_id:
                return [part.partition("/")[2] for part in (*way, term_id)]
            if above_id in vocabulary.terms and above_id not in way:
                todo.append([*way, above_id])
    return []


def _labels(term: TermData) -> _Found:
    """A label is one of preferred, alternative and hidden in a language, not two (SKOS S13)."""
    for name, more in (("alt", term.alt), ("hidden", term.hidden)):
        for language, words in more.items():
            taken = {term.labels.get(language)} | (set(term.alt.get(language, [])) if name == "hidden" else set())
            for index, word in enumerate(words):
                if word in taken:
                    what = f"{word!r} is a label of this term in {language} already"
                    yield (name, language, index), what, "Remove it here."
                taken.add(word)
