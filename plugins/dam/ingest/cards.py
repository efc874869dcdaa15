"""The batch card ``batch.yaml``: who sent a drop, for which campaign, under which rights.

Suppliers write it by hand. What is wrong with it is told on the batch's page; it never stops the files.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from dam.errors import NotFound
from dam.ingest.paperwork import BEGUN, CARD

if TYPE_CHECKING:
    from dam.services import Services

#: A longer card is not read.
LONGEST = 256_000
FIELDS = ("sent_by", "supplier", "campaign", "rights", "source")
#: NUL, and halves of characters: no database keeps them.
_UNKEPT = re.compile(r"\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]")


def read(services: Services, location: str) -> tuple[dict[str, Any], list[str]]:
    """Return a drop's card and what is wrong with it; a card that can't be read counts as none."""
    inbox = services.storage.inbox
    for name in (CARD, BEGUN):
        try:
            if inbox.size(f"{location}/{name}") > LONGEST:
                return {}, [f"{name} is longer than {LONGEST // 1000} kB, and was not read."]
            return parse(inbox.read(f"{location}/{name}"))
        except NotFound:
            continue
    return {}, []


def parse(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return a card's fields as JSON keeps them, without those that can't be used, and why they can't be.

    A rights statement with a fault is left out as a whole: half of one could allow what the other half forbids.
    """
    try:
        text = data.decode()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            return {}, ["The card has an alias (*name) in it, which is not understood here; it was not read."]
        card = yaml.safe_load(text)
    except UnicodeDecodeError:
        return {}, ["The card is not written in UTF-8, and can't be read."]
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        return {}, [f"The card can't be read as YAML{line}: {error.problem}."]
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not, as 2027-02-30
        return {}, [f"The card can't be read as YAML: {error}."]
    if not isinstance(card, dict):
        return {}, ["The card is no table of fields."]
    try:
        as_json = json.dumps(card, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {}, ["The card has values in it that no field can have; it was not read."]
    if _UNKEPT.search(as_json):
        return {}, ["The card has characters in it that can't be kept; it was not read."]
    card = json.loads(as_json)
    kept, faults = check(card)
    if card.get("rights") and "rights" not in kept:
        faults.append("So the card's rights were left out: the librarian is asked for them.")
    return kept, faults


def check(card: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a card that can be used, and what is wrong with the others."""
    kept: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in card.items():
        if name not in FIELDS:
            faults.append(f"{name!r} is no field of a card.{_likely(name, FIELDS)}")
        elif value in (None, "", {}):
            continue
        elif name == "rights":
            wrong = rights_faults(value)
            if wrong:
                faults += wrong
            else:
                kept[name] = {key: given for key, given in value.items() if given not in (None, "", [])}
        elif isinstance(value, dict | list):
            faults.append(f"{name} is no text.")
        else:
            kept[name] = str(value)
    return kept, faults


def rights_faults(rights: Any) -> list[str]:
    """Return what is wrong with a card's rights statement."""
    from dam.enrich import rights as terms

    if not isinstance(rights, dict):
        return ["The rights are no table of fields such as licence and holder."]
    mistyped = {name: likely for name in rights if name not in terms.FIELDS and (likely := _likely(name, terms.FIELDS))}
    excepted = rights.get("except") or []
    words = [excepted] if isinstance(excepted, str) else excepted
    listed = isinstance(words, list) and all(isinstance(word, str) for word in words)
    return [
        *(f"rights.{name} is no field that is known here.{likely}" for name, likely in mistyped.items()),
        *terms.faults(rights),
        *([] if listed else ["rights.except is no list of files."]),
    ]


def _likely(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {near[0]}?" if near else ""
