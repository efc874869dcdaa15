"""How the work of a package is called, by what its signatures are for: its answers, its headline, what silence does.

The room, Airflow, the mails and the command line all take their words from here. Tasks name their options by it when
a DAG file is parsed, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dam.catalog.models import Package


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a purpose.

    :param answers: what each verdict is called; a verdict that is not there can't be given.
    :param lead: what a mail begins with. :param silence: what happens when nobody answers in time.
    :param over: what a mail says once that has happened.
    """

    answers: dict[str, str]
    lead: str
    silence: str
    over: str


_RELEASE = Words(
    {"approve": "Approve", "request_changes": "Request changes", "reject": "Reject"},
    "A package is waiting for your signature.",
    "the seat closes unsigned; silence never approves",
    "nothing is approved",
)
_METADATA = Words(
    {"approve": "Done", "reject": "Leave the rest out"},
    "Some files can't go on to review before what they lack is filled in.",
    "what is complete goes on, and the rest is left out; silence never completes anything",
    "what was complete went on, and the rest is left out",
)
_BRIEF = Words(
    _RELEASE.answers,
    "A brief is waiting for your signature.",
    "it is sent back; silence never signs",
    "the brief was sent back",
)
_WORDS: dict[str, Words] = {"metadata": _METADATA, "brief": _BRIEF}

#: Verdict by the word that Airflow's question offers for it.
VERDICTS: dict[str, str] = {
    word: verdict for words in (_RELEASE, *_WORDS.values()) for verdict, word in words.answers.items()
}


def words(purpose: str) -> Words:
    """Return the words of a purpose; those of a release where it has none of its own."""
    return _WORDS.get(purpose, _RELEASE)


def headline(purpose: str, of: str, role: str, what: str, number: int) -> str:
    """Return what somebody is asked for: ``Spring 2027: 2 versions for the legal reviewer, round 1``.

    :param of: :func:`source` of the package. :param role: of the seat. :param what: what the package :func:`holds`.
    :param number: its round.
    """
    if purpose == "metadata":
        return f"Fill in {what} of {of}"
    return f"{of}: {what} for the {role.replace('_', ' ')}, round {number}"


def holds(package: Package, versions: int) -> str:
    """Return what a package holds: ``2 versions``, or ``brief 3``. :param versions: how many."""
    if package.brief is not None:
        return f"brief {package.brief.number}"
    return "1 version" if versions == 1 else f"{versions} versions"


def source(package: Package) -> str:
    """Return what a package's versions are of: the campaign's name, or else where a batch to fill in came from."""
    if package.campaign:
        return package.campaign.name
    return package.batch.location if package.purpose == "metadata" else "No campaign"
