"""The vocabulary as SKOS (W3C Simple Knowledge Organization System), in Turtle and JSON-LD.

Facets are concept schemes, terms concepts. What SKOS has no word for is said in others': ``dcterms:identifier`` is
our id, ``sh:order`` the facets' order, ``owl:deprecated`` with ``dcterms:isReplacedBy`` a deprecation. What was
exported comes back the same. Of what others made, what our vocabulary can't hold is left out and counted.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rdflib import DCTERMS, OWL, RDF, RDFS, SH, SKOS, Graph, Literal, URIRef
from rdflib.term import Node

from dam.errors import BadInput
from dam.load import Mistake
from dam.taxonomy import languages
from dam.taxonomy.vocabulary import Vocabulary, from_contents, problems

FORMATS = {"turtle": "turtle", "json-ld": "json-ld"}
_SUFFIXES = {".ttl": "turtle", ".turtle": "turtle", ".nt": "nt", ".jsonld": "json-ld", ".json": "json-ld"}
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NOTES = {"note": SKOS.scopeNote, "definition": SKOS.definition}
_LABELS = {"alt": SKOS.altLabel, "hidden": SKOS.hiddenLabel}


@dataclass
class Imported:
    """What a file holds: its vocabulary, and how often what was left out."""

    vocabulary: Vocabulary
    left_out: dict[str, int] = field(default_factory=dict)


def to_graph(vocabulary: Vocabulary) -> Graph:
    """Return a vocabulary as a graph."""
    graph = Graph()
    for prefix, namespace in (("skos", SKOS), ("dcterms", DCTERMS), ("owl", OWL), ("sh", SH)):
        graph.bind(prefix, namespace)
    schemes: dict[str, URIRef] = {}
    for order, (facet, told) in enumerate(vocabulary.facet_contents.items()):
        scheme = schemes[facet] = URIRef(vocabulary.facet_uri(facet))
        graph.add((scheme, RDF.type, SKOS.ConceptScheme))
        graph.add((scheme, DCTERMS.identifier, Literal(facet)))
        graph.add((scheme, SH.order, Literal(order)))
        _say(graph, scheme, SKOS.prefLabel, told.get("labels", {}))
        _say(graph, scheme, SKOS.scopeNote, told.get("note", {}))
    for term_id, content in vocabulary.contents.items():
        _concept(graph, vocabulary, term_id, content, schemes[term_id.partition("/")[0]])
    return graph


def _concept(graph: Graph, vocabulary: Vocabulary, term_id: str, content: dict[str, Any], scheme: URIRef) -> None:
    def uri(other: str) -> URIRef:
        return URIRef(vocabulary.uri(other))

    concept = uri(term_id)
    graph.add((concept, RDF.type, SKOS.Concept))
    graph.add((concept, SKOS.inScheme, scheme))
    graph.add((concept, DCTERMS.identifier, Literal(term_id)))
    _say(graph, concept, SKOS.prefLabel, content["labels"])
    for name, predicate in _LABELS.items():
        for language, words in content.get(name, {}).items():
            for word in words:
                graph.add((concept, predicate, Literal(word, lang=language)))
    for name, predicate in _NOTES.items():
        _say(graph, concept, predicate, content.get(name, {}))
    for other in content.get("broader", ()):
        graph.add((concept, SKOS.broader, uri(other)))
        graph.add((uri(other), SKOS.narrower, concept))
    if not content.get("broader"):
        graph.add((concept, SKOS.topConceptOf, scheme))
        graph.add((scheme, SKOS.hasTopConcept, concept))
    for other in content.get("related", ()):
        graph.add((concept, SKOS.related, uri(other)))
    for match in content.get("matches", ()):
        graph.add((concept, SKOS.exactMatch, URIRef(match)))
    if content.get("deprecated"):
        graph.add((concept, OWL.deprecated, Literal(True)))
    if content.get("replaced_by"):
        graph.add((concept, DCTERMS.isReplacedBy, uri(content["replaced_by"])))


def _say(graph: Graph, subject: URIRef, predicate: URIRef, texts: dict[str, str]) -> None:
    for language, text in texts.items():
        graph.add((subject, predicate, Literal(text, lang=language)))


def export(vocabulary: Vocabulary, format_name: str) -> str:
    """Return a vocabulary as text in one of :data:`FORMATS`; the same vocabulary gives the same text."""
    if format_name not in FORMATS:
        raise BadInput(f"{format_name!r} is no format", where="--format", remedy=f"Use {' or '.join(FORMATS)}.")
    tidy: dict[str, Any] = {"auto_compact": True, "indent": 2, "sort_keys": True, "ensure_ascii": False}
    more = tidy if format_name == "json-ld" else {}
    return str(to_graph(vocabulary).serialize(format=FORMATS[format_name], **more))


def read(path: Path, *, namespace: str, facet: str = "imported") -> Imported:
    """Read a SKOS file: Turtle, N-Triples or JSON-LD, by its ending. Nothing is fetched from anywhere.

    :param namespace: of our own URIs. :param facet: where concepts go that are in no scheme.
    :raises BadInput: it can't be read, holds no concept, or its terms contradict each other.
    """
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise BadInput(
            "is in no format that is read here", where=str(path), remedy=f"Name it {', '.join(sorted(_SUFFIXES))}."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise BadInput("can't be read as UTF-8 text", where=str(path), remedy="Name a file that is there.") from error
    if kind == "json-ld":
        _stays_here(path, text)
    graph = Graph()
    try:
        graph.parse(data=text, format=kind)
    except Exception as error:  # whatever a parser of somebody else's text raises
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"is no {kind}: {reason}", where=str(path), remedy="Ask its maker for a sound file.") from error
    return _Reader(graph, namespace, facet, str(path)).imported()


def _stays_here(path: Path, text: str) -> None:
    """Refuse JSON-LD that sends its reader to the network for its meaning."""
    try:
        todo: list[Any] = [json.loads(text)]
    except ValueError as error:
        raise BadInput(f"is no JSON: {error}", where=str(path), remedy="Ask its maker for a sound file.") from error
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            context = node.get("@context", [])
            for part in context if isinstance(context, list) else [context]:
                if isinstance(part, str) or (isinstance(part, dict) and "@import" in part):
                    raise BadInput(
                        "its @context is on the network, and nothing is fetched here",
                        where=str(path),
                        remedy="Write the context into the file, or convert it to Turtle.",
                    )
            todo += node.values()


class _Reader:
    """Takes a graph apart, and counts what it can't keep."""

    def __init__(self, graph: Graph, namespace: str, facet: str, where: str) -> None:
        self.graph, self.namespace, self.where = graph, namespace, where
        self.left_out: Counter[str] = Counter()
        self.facet_of_none = facet
        self.facets = self._facets()
        self.ids = self._ids()

    def imported(self) -> Imported:
        """Return what the graph holds."""
        if not self.ids:
            raise BadInput("there is no skos:Concept in it", where=self.where, remedy="Choose a SKOS file.")
        contents = {term_id: self._content(concept, term_id) for concept, term_id in self.ids.items()}
        self._resolve_replacements(contents)
        about = {facet: self._about(scheme, facet) for scheme, facet in self.facets.items()}
        about |= {term_id.partition("/")[0]: {} for term_id in contents if term_id.partition("/")[0] not in about}
        try:
            vocabulary = from_contents(contents, about, self.namespace)
        except ValidationError as error:
            first = error.errors()[0]
            where = f"{self.where}: {'/'.join(map(str, first['loc'][1:3]))}"
            raise BadInput(first["msg"].removeprefix("Value error, "), where=where, remedy="Mend it there.") from error
        for problem in problems(vocabulary):
            where = f"{self.where}: {'/'.join(map(str, problem.loc[1:3]))}"
            raise BadInput(problem.what, where=where, remedy=problem.remedy)
        self._count_unknown()
        return Imported(vocabulary, dict(self.left_out.most_common()))

    # ------------------------------------------------------------------------------------------- ids

    def _facets(self) -> dict[URIRef, str]:
        schemes = [node for node in self.graph.subjects(RDF.type, SKOS.ConceptScheme) if isinstance(node, URIRef)]

        def order(scheme: URIRef) -> tuple[float, str]:
            given = self.graph.value(scheme, SH.order)
            number = given.toPython() if isinstance(given, Literal) else None
            return (float(number) if isinstance(number, int | float) else float("inf"), str(scheme))

        found: dict[URIRef, str] = {}
        for scheme in sorted(set(schemes), key=order):
            found[scheme] = _free(self._slug(scheme), set(found.values()))
        return found

    def _ids(self) -> dict[URIRef, str]:
        found: dict[URIRef, str] = {}
        taken: set[str] = set()
        concepts = {node for node in self.graph.subjects(RDF.type, SKOS.Concept) if isinstance(node, URIRef)}
        for concept in sorted(concepts, key=lambda node: (self._own_id(node) is None, str(node))):
            term_id = self._own_id(concept)
            if term_id is None or term_id in taken:
                facet = self._facet(concept)
                used = {known.removeprefix(f"{facet}/") for known in taken if known.startswith(f"{facet}/")}
                term_id = f"{facet}/{_free(self._slug(concept), used)}"
            taken.add(term_id)
            found[concept] = term_id
        return found

    def _own_id(self, concept: URIRef) -> str | None:
        """Return the id we gave a concept when we exported it, or that its URI tells."""
        given = str(self.graph.value(concept, DCTERMS.identifier) or str(concept).removeprefix(self.namespace))
        facet, _, slug = given.partition("/")
        return given if _SLUG.fullmatch(facet) and _SLUG.fullmatch(slug) and facet == self._facet(concept) else None

    def _facet(self, concept: URIRef) -> str:
        member = {
            *self.graph.objects(concept, SKOS.inScheme),
            *self.graph.objects(concept, SKOS.topConceptOf),
            *self.graph.subjects(SKOS.hasTopConcept, concept),
        }
        return next((facet for scheme, facet in self.facets.items() if scheme in member), self.facet_of_none)

    def _slug(self, node: URIRef) -> str:
        """Return a slug for a scheme or concept: its identifier, the end of its URI, or its label."""
        tail = re.split(r"[/#:]", str(node).rstrip("/#"))[-1]
        given = [str(self.graph.value(node, DCTERMS.identifier) or "")]
        if str(node).startswith(self.namespace):
            given.append(str(node).removeprefix(self.namespace))
        for word in given:
            if _SLUG.fullmatch(word):
                return word
        labels = sorted(
            (label for label in self.graph.objects(node, SKOS.prefLabel) if isinstance(label, Literal)),
            key=lambda label: (languages.primary(label.language or "") != "en", label.language or "", str(label)),
        )
        spelled = [tail] if re.search(r"[a-z]{3}", tail) else []
        for word in (*spelled, *map(str, labels), tail):
            if slug := slugify(word):
                return slug
        return "term"

    # --------------------------------------------------------------------------------------- contents

    def _about(self, scheme: URIRef, facet: str) -> dict[str, Any]:
        labels: dict[str, str] = {}
        for predicate in (SKOS.prefLabel, RDFS.label, DCTERMS.title):
            labels = self._texts(self.graph.objects(scheme, predicate)) | labels
        told = {
            "labels": labels,
            "note": self._texts(self.graph.objects(scheme, SKOS.scopeNote)),
            "uri": None if str(scheme) == self.namespace + facet else str(scheme),
        }
        return {name: value for name, value in told.items() if value}

    def _content(self, concept: URIRef, term_id: str) -> dict[str, Any]:
        graph = self.graph
        labels, alt = self._preferred(concept, term_id)
        hidden = self._words(concept, SKOS.hiddenLabel)
        for language, words in self._words(concept, SKOS.altLabel).items():
            alt.setdefault(language, set()).update(words)
        for language, label in labels.items():
            alt.get(language, set()).discard(label)
            hidden.get(language, set()).discard(label)
        for language, words in hidden.items():
            words -= alt.get(language, set())
        above = {*graph.objects(concept, SKOS.broader), *graph.subjects(SKOS.narrower, concept)}
        related = {*graph.objects(concept, SKOS.related), *graph.subjects(SKOS.related, concept)}
        broader = self._known(above, "skos:broader to an unknown concept")
        facet = term_id.partition("/")[0] + "/"
        self.left_out["skos:broader across schemes"] += sum(not other.startswith(facet) for other in broader)
        replaced = self._known(graph.objects(concept, DCTERMS.isReplacedBy), "replacement by an unknown concept")
        told: dict[str, Any] = {
            "labels": labels,
            "alt": {language: sorted(words) for language, words in alt.items() if words},
            "hidden": {language: sorted(words) for language, words in hidden.items() if words},
            "broader": [other for other in broader if other.startswith(facet)],
            "related": [o for o in self._known(related, "skos:related to an unknown concept") if term_id < o],
            "matches": sorted(str(o) for o in graph.objects(concept, SKOS.exactMatch) if isinstance(o, URIRef)),
            "deprecated": bool(replaced) or Literal(True) in set(graph.objects(concept, OWL.deprecated)),
            "replaced_by": replaced[0] if replaced else None,
            "uri": None if str(concept) == self.namespace + term_id else str(concept),
        }
        told |= {name: self._texts(graph.objects(concept, predicate)) for name, predicate in _NOTES.items()}
        return {name: value for name, value in told.items() if value}

    def _preferred(self, concept: URIRef, term_id: str) -> tuple[dict[str, str], dict[str, set[str]]]:
        """Return the preferred label by language, and what is one too many as alternatives."""
        words = self._words(concept, SKOS.prefLabel)
        if not words:
            words = self._words(concept, RDFS.label) or {"und": {term_id.partition("/")[2]}}
        labels = {language: min(found) for language, found in words.items()}
        rest = {language: found - {labels[language]} for language, found in words.items()}
        self.left_out["second skos:prefLabel (now an alternative)"] += sum(map(len, rest.values()))
        return labels, rest

    def _words(self, subject: URIRef, predicate: URIRef) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for language, text in self._literals(self.graph.objects(subject, predicate)):
            if word := " ".join(text.split()):
                found.setdefault(language, set()).add(unicodedata.normalize("NFC", word))
        return found

    def _texts(self, nodes: Iterable[Node]) -> dict[str, str]:
        found: dict[str, list[str]] = {}
        for language, text in self._literals(nodes):
            found.setdefault(language, []).append(text)
        return {language: "\n".join(sorted(texts)) for language, texts in found.items()}

    def _literals(self, nodes: Iterable[Node]) -> Iterable[tuple[str, str]]:
        for node in nodes:
            if not isinstance(node, Literal):
                self.left_out["label or note that is no text"] += 1
                continue
            try:
                yield languages.canonical(node.language or "und"), str(node)
            except Mistake as error:
                self.left_out[f"text in an unknown language ({error})"] += 1

    def _known(self, nodes: Iterable[Node], otherwise: str) -> list[str]:
        """Return the ids of concepts; of those that are not in the file, say so."""
        given = set(nodes)
        self.left_out[otherwise] += sum(node not in self.ids for node in given)
        return sorted(self.ids[node] for node in given if isinstance(node, URIRef) and node in self.ids)

    def _resolve_replacements(self, contents: dict[str, dict[str, Any]]) -> None:
        """Let a deprecated term lead straight to the term in use, over however many others."""
        for term_id, content in contents.items():
            seen = {term_id}
            while (target := content.get("replaced_by")) and contents[target].get("deprecated"):
                following = contents[target].get("replaced_by")
                if target in seen or following is None:
                    self.left_out["replacement by a deprecated concept"] += 1
                    del content["replaced_by"]
                    break
                seen.add(target)
                content["replaced_by"] = following
            if content.get("replaced_by") == term_id:
                del content["replaced_by"]

    def _count_unknown(self) -> None:
        for subject, predicate, _ in self.graph:
            if predicate not in _KEPT:
                what = "skos:Concept" if subject in self.ids else "others"
                self.left_out[f"{self.graph.namespace_manager.normalizeUri(str(predicate))} of {what}"] += 1
        self.left_out = Counter({what: count for what, count in self.left_out.items() if count})


_KEPT = frozenset(
    {
        RDF.type, DCTERMS.identifier, DCTERMS.isReplacedBy, DCTERMS.title, OWL.deprecated, RDFS.label, SH.order,
        SKOS.altLabel, SKOS.broader, SKOS.definition, SKOS.exactMatch, SKOS.hasTopConcept, SKOS.hiddenLabel,
        SKOS.inScheme, SKOS.narrower, SKOS.prefLabel, SKOS.related, SKOS.scopeNote, SKOS.topConceptOf,
    }
)  # fmt: skip


def slugify(text: str) -> str:
    """Return a text as a slug: lower case, plain letters and digits, hyphens; empty when nothing is left."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text)
    plain = unicodedata.normalize("NFKD", spaced).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].strip("-")


def _free(slug: str, taken: set[str]) -> str:
    number = 1
    while (slug if number == 1 else f"{slug}-{number}") in taken:
        number += 1
    return slug if number == 1 else f"{slug}-{number}"
