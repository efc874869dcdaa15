"""What is different between two vocabularies, term by term, in sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dam.taxonomy.vocabulary import Vocabulary, shown


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one term, or of one facet (then the id has no slash).

    :param kind: ``added``, ``removed``, ``deprecated`` or ``changed``. :param says: a phrase for each difference.
    :param words: labels that lead to the term now and did not before.
    :param lost: labels that led to it and do no more.
    """

    id: str
    kind: str
    says: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return {"id": self.id, "kind": self.kind, "says": self.says, "words": self.words, "lost": self.lost}

    def __str__(self) -> str:
        mark = {"added": "+", "removed": "-", "deprecated": "!"}.get(self.kind, "~")
        return f"{mark} {self.id}: {'; '.join(self.says)}"


def compare(old: Vocabulary, new: Vocabulary) -> list[Change]:
    """Return every difference, facets first, then terms by id."""
    found = []
    if old.namespace != new.namespace:
        found.append(Change("namespace", "changed", [f"{old.namespace} → {new.namespace}"]))
    before, after = old.facet_contents, new.facet_contents
    for facet in [*before, *(name for name in after if name not in before)]:
        if facet not in after:
            found.append(Change(facet, "removed", ["the facet is gone"]))
        elif facet not in before:
            found.append(Change(facet, "added", ["a new facet"]))
        elif says := _differences(before[facet], after[facet]):
            found.append(Change(facet, "changed", says))
    common = [facet for facet in before if facet in after]
    if common != [facet for facet in after if facet in before]:
        found.append(Change("facets", "changed", [f"order: {', '.join(after)}"]))
    for term_id in sorted({*old.terms, *new.terms}):
        if change := _term(term_id, old, new):
            found.append(change)
    return found


def _term(term_id: str, old: Vocabulary, new: Vocabulary) -> Change | None:
    before, after = old.contents.get(term_id), new.contents.get(term_id)
    if before == after:
        return None
    own_before, own_after = _words(before), _words(after)
    words, lost = sorted(own_after - own_before), sorted(own_before - own_after)
    if before is None and after is not None:
        return Change(term_id, "added", [f"new: {shown(after['labels'])}"], words)
    if after is None and before is not None:
        return Change(term_id, "removed", [f"gone: {shown(before['labels'])}"], [], lost)
    assert before is not None
    assert after is not None
    says = _differences(before, after)
    if after.get("deprecated") and not before.get("deprecated"):
        instead = after.get("replaced_by")
        says.insert(0, f"deprecated, use {instead}" if instead else "deprecated")
        return Change(term_id, "deprecated", says, words, lost)
    return Change(term_id, "changed", says, words, lost)


def _words(content: dict[str, Any] | None) -> set[str]:
    if content is None:
        return set()
    more = (word for name in ("alt", "hidden") for words in content.get(name, {}).values() for word in words)
    return {*content["labels"].values(), *more}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a phrase for each thing that one says and the other does not."""
    says = []
    for name in sorted({*before, *after} - {"deprecated"}):
        one, other = before.get(name), after.get(name)
        if one == other:
            continue
        if isinstance(one or other, dict):
            says += _by_language(name, one or {}, other or {})
        elif isinstance(one or other, list):
            says += _items(name.replace("_", " "), one or [], other or [])
        else:
            says.append(f"{name.replace('_', ' ')}: {one or '–'} → {other or '–'}")
    if before.get("deprecated") and not after.get("deprecated"):
        says.append("in use again")
    return says


def _by_language(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    says = []
    title = {"labels": "label", "alt": "alternative", "hidden": "hidden label"}.get(name, name)
    for language in sorted({*before, *after}):
        one, other = before.get(language), after.get(language)
        if one == other:
            continue
        if isinstance(one or other, list):
            says += _items(f"{title} ({language})", one or [], other or [])
        else:
            says.append(f"{title} ({language}): {one or '–'} → {other or '–'}")
    return says


def _items(title: str, before: list[str], after: list[str]) -> list[str]:
    says = []
    if more := [item for item in after if item not in before]:
        says.append(f"{title} + {', '.join(more)}")
    if less := [item for item in before if item not in after]:
        says.append(f"{title} − {', '.join(less)}")
    return says
