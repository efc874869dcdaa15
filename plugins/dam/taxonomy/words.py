"""Finds terms in words and in running text: several words, plurals and other light inflection, by language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dam.taxonomy import languages

if TYPE_CHECKING:
    from dam.taxonomy.vocabulary import Vocabulary


def _marks() -> str:
    """Return the marks that belong to the letter before them, for a character class."""
    return "".join(chr(at) for at in range(0x300, 0x1E00) if unicodedata.category(chr(at)) in ("Mn", "Mc"))


#: Scripts that are written without spaces: each sign is a word, so that a label is found inside a sentence.
_SIGNS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
)
_TOKEN = re.compile(rf"[{_SIGNS}]|(?:(?![{_SIGNS}])[^\W\d_][{_marks()}]*)+|\d+")
_OWNED = re.compile(r"(?<=\w)['’]s\b")

#: Endings by language: what a word may have lost or gained, (ending, what the plain word has instead).
#: The plain word keeps at least three letters, four where one letter alone is cut off that may be the stem's own.
_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "da": (("erne", ""), ("ene", ""), ("er", ""), ("en", ""), ("et", ""), ("e", "")),
    "de": (("innen", "in"), ("nen", ""), ("en", ""), ("er", ""), ("es", ""), ("e", ""), ("n", ""), ("s", "")),
    "en": (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")),
    "es": (("ces", "z"), ("es", ""), ("s", "")),
    "fr": (("aux", "al"), ("eaux", "eau"), ("es", ""), ("s", ""), ("x", ""), ("e", "")),
    "it": (("chi", "co"), ("che", "ca"), ("ghi", "go"), ("i", "o"), ("i", "e"), ("e", "a")),
    "nb": (("ene", ""), ("er", ""), ("en", ""), ("et", ""), ("e", "")),
    "nl": (("en", ""), ("s", "")),
    "nn": (("ane", ""), ("ar", ""), ("er", ""), ("en", ""), ("et", ""), ("a", "")),
    "pt": (("ões", "ão"), ("ais", "al"), ("es", ""), ("s", "")),
    "sv": (("orna", "a"), ("or", "a"), ("arna", ""), ("ar", ""), ("er", ""), ("en", ""), ("et", ""), ("n", "")),
}
_ENDINGS["no"] = _ENDINGS["nb"]
_UMLAUTS = str.maketrans({"ä": "a", "ö": "o", "ü": "u"})
#: Labels of other languages than the text's count only from so many letters on: "coin" is no money in French.
_FOREIGN = 5


def tokens(text: str) -> list[str]:
    """Return a text's words in lower case, in the order they stand."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _TOKEN.findall(_OWNED.sub("", plain))


@lru_cache(maxsize=100_000)
def forms(word: str, language: str) -> frozenset[str]:
    """Return what a word may be a form of in a language, itself among it: ``cats`` → ``cat``, ``cats``.

    :param word: in lower case. :param language: without region.
    """
    found = {word}
    for ending, instead in _ENDINGS.get(language, ()):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < (3 if len(ending) > 1 or ending in ("s", "x") else 4):
            continue
        if ending == "s" and stem.endswith(("s", "u", "i")):  # glass, status, axis
            continue
        found.add(stem + instead)
    if language == "de":
        found |= {form.translate(_UMLAUTS) for form in found if form != word}
    if language == "nl":
        found |= {form[:-1] for form in found if form != word and form[-1:] == form[-2:-1]}
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Hit:
    """A term found in a text.

    :param label: the label as the vocabulary has it. :param language: of the label.
    :param rank: 0 a preferred label, 1 an alternative, 2 a hidden one.
    :param exact: whether the text has the label as it is, not another form of it.
    :param at: where, in words from the start. :param length: in words.
    """

    term_id: str
    label: str
    language: str
    rank: int
    exact: bool
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A label with the forms of each of its words."""

    term_id: str
    label: str
    language: str
    rank: int
    order: int
    words: tuple[str, ...]
    forms: tuple[frozenset[str], ...]


class Matcher:
    """The labels of a vocabulary, ready to be found. A retired term's labels lead to what replaces it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._by_form: dict[str, list[_Entry]] = {}
        self.languages: set[str] = set()
        facets = list(vocabulary.facets)
        for term_id, term in vocabulary.terms.items():
            target = vocabulary.current(term_id)
            if target is None:
                continue
            for rank, tag, label in term.all_labels():
                words = tuple(tokens(label))
                language = languages.primary(tag)
                self.languages.add(language)
                if words:
                    known = tuple(forms(word, language) for word in words)
                    order = facets.index(target.partition("/")[0])
                    entry = _Entry(target, label, language, rank, order, words, known)
                    for form in known[0]:
                        self._by_form.setdefault(form, []).append(entry)

    def named(self, word: str, language: str | None = None) -> list[str]:
        """Return the ids of all terms that a word or phrase names, the likeliest first.

        When some have it as their very label, terms that have another form of it do not count.
        """
        words = tokens(word)
        hits = self._at(words, 0, languages.primary(language) if language else None)
        whole = [hit for hit in hits if hit[0].length == len(words)]
        if any(hit.exact for hit, _ in whole):
            whole = [(hit, order) for hit, order in whole if hit.exact]
        whole.sort(key=lambda pair: (pair[0].rank, pair[1], pair[0].term_id))
        return list(dict.fromkeys(hit.term_id for hit, _ in whole))

    def search(self, text: str | Iterable[str], language: str | None = None) -> list[Hit]:
        """Return the terms in a text from left to right; the longest label wins, and no word counts twice.

        :param text: or its words, as :func:`tokens` gives them.
        :param language: of the text, where it is known. Labels of other languages then count only as they are
            written and from some letters on.
        """
        words = tokens(text) if isinstance(text, str) else list(text)
        spoken = languages.primary(language) if language else None
        if spoken not in self.languages:
            spoken = None
        found: list[Hit] = []
        at = 0
        while at < len(words):
            here = self._at(words, at, spoken)
            if not here:
                at += 1
                continue
            best, _ = min(
                here, key=lambda pair: (-pair[0].length, not pair[0].exact, pair[0].rank, pair[1], pair[0].term_id)
            )
            found.append(best)
            at += best.length
        return found

    def _at(self, words: list[str], at: int, spoken: str | None) -> list[tuple[Hit, int]]:
        """Return every label that begins at a word, with its facet's place."""
        if at >= len(words):
            return []
        found = []
        seen: set[int] = set()
        for form in self._every_form(words[at]):
            for entry in self._by_form.get(form, ()):
                if id(entry) in seen:
                    continue
                seen.add(id(entry))
                length = len(entry.words)
                exact = tuple(words[at : at + length]) == entry.words
                if not exact and not self._inflected(entry, words, at):
                    continue
                foreign = spoken and entry.language not in (spoken, *languages.SPECIAL)
                if foreign and not (exact and sum(map(len, entry.words)) >= _FOREIGN):
                    continue
                found.append(
                    (Hit(entry.term_id, entry.label, entry.language, entry.rank, exact, at, length), entry.order)
                )
        return found

    def _every_form(self, word: str) -> set[str]:
        found = {word}
        for language in self.languages:
            found |= forms(word, language)
        return found

    @staticmethod
    def _inflected(entry: _Entry, words: list[str], at: int) -> bool:
        if at + len(entry.words) > len(words):
            return False
        return all(forms(words[at + index], entry.language) & known for index, known in enumerate(entry.forms))
