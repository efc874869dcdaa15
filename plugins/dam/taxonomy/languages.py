"""Language tags (BCP 47, RFC 5646): what is well-formed, known, and how it is written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache

from dam.load import Mistake

#: Tags for what is in no language, in several, or in one that nobody determined.
SPECIAL = frozenset({"mul", "und", "zxx"})
_SHAPE = re.compile(
    r"(?P<language>[a-z]{2,3})(?P<extended>(-[a-z]{3}){0,3})(-(?P<script>[a-z]{4}))?(-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<rest>(-([a-z\d]{5,8}|\d[a-z\d]{3}))*(-[a-wyz\d](-[a-z\d]{2,8})+)*(-x(-[a-z\d]{1,8})+)?)",
    re.IGNORECASE,
)


def primary(tag: str) -> str:
    """Return the language alone, e.g. ``de`` of ``de-CH``."""
    return tag.partition("-")[0].lower()


def looks_like(word: object) -> bool:
    """Return whether a word has the shape of a language tag, known or not."""
    return isinstance(word, str) and _SHAPE.fullmatch(word) is not None


@lru_cache(maxsize=1024)
def canonical(tag: str) -> str:
    """Return a tag as RFC 5646 writes it: ``de``, ``zh-Hans``, ``pt-BR``.

    :raises Mistake: it is not well-formed, or its language, script or region is unknown.
    """
    parts = _SHAPE.fullmatch(tag)
    if parts is None:
        raise Mistake(f"{tag!r} is no language tag", remedy="Write it like de, pt-BR or zh-Hans (BCP 47).")
    language, script, region = parts["language"].lower(), parts["script"], parts["region"]
    _check_language(language)
    if script and script.title() not in _english("scripts"):
        raise Mistake(f"{tag!r} names an unknown script", remedy="Write it like zh-Hans or sr-Latn, or leave it out.")
    if region and not region.isdigit() and region.upper() not in _english("territories"):
        raise Mistake(f"{tag!r} names an unknown region", remedy="Write it like pt-BR or de-CH, or leave it out.")
    return "".join(
        (
            language,
            parts["extended"].lower(),
            f"-{script.title()}" if script else "",
            f"-{region.upper()}" if region else "",
            parts["rest"].lower(),
        )
    )


def name(tag: str) -> str:
    """Return the English name of a tag's language, e.g. ``German``; the tag itself where none is known."""
    return _english("languages").get(primary(tag), tag)


def _check_language(language: str) -> None:
    from babel.core import get_global

    aliases: Mapping[str, str] = get_global("language_aliases")
    if language in aliases and aliases[language] != language:
        shorter = aliases[language].replace("_", "-")
        raise Mistake(f"{language!r} is an outdated or long form of {shorter!r}", remedy=f"Write {shorter}.")
    if language in SPECIAL or language in _known():
        return
    near = difflib.get_close_matches(language, [code for code in _english("languages") if len(code) == 2], n=3)
    remedy = "Use a code of ISO 639, like en, de or haw."
    if near:
        remedy = f"Did you mean {' or '.join(f'{code} ({name(code)})' for code in near)}? {remedy}"
    raise Mistake(f"{language!r} is no known language", remedy=remedy)


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Every language of Unicode's locale data, which has nearly all of ISO 639-3."""
    from babel.core import get_global

    tags: Mapping[str, str] = get_global("likely_subtags")
    return frozenset(tag.partition("_")[0] for tag in tags) | frozenset(_english("languages"))


@lru_cache(maxsize=4)
def _english(part: str) -> dict[str, str]:
    """Return Unicode's English names of ``languages``, ``scripts`` or ``territories`` by code."""
    from babel import Locale

    return {str(code): str(word) for code, word in getattr(Locale("en"), part).items()}
