"""Verifies a signed record by itself: no database, no store, only the file and the public key.

What does not fit is said in plain words, with the place in the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dam import audit, merkle
from dam.errors import BadInput
from dam.plan.briefs import canonical
from dam.review.record import FORMAT, leaves, seal

#: What an event has in a record beside what its hash is over.
PROVEN = frozenset({"sha256", "anchor", "path"})
SIGNED, WITHDRAWN, DESCRIBED = "seat.signed", "seat.withdrawn", "version.described"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit: its place in the record, and what is wrong."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(slots=True)
class Report:
    """What verification found.

    :param sha256: of the record, as its file states it. :param notes: what a reader should know, though nothing
        is wrong.
    """

    sha256: str = ""
    public_key: str = ""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything fits."""
        return not self.problems


def verify(path: Path, *, trusted_key: str | None = None) -> Report:
    """Verify a record's file, JSON or PDF.

    :param trusted_key: the public key (base64) that must have signed it. Without one, the record is only shown to
        be as whoever holds its key signed it.
    :raises BadInput: it is no record.
    """
    content = path.read_bytes()
    if content[:5] == b"%PDF-":
        from dam.review import record_pdf

        attached = record_pdf.attached(content, where=str(path))
        document, report = _check(attached, str(path), trusted_key)
        report.problems += [Problem(place, what) for place, what in record_pdf.differs(content, document)]
        return report
    return _check(content, str(path), trusted_key)[1]


def _check(content: bytes, where: str, trusted_key: str | None) -> tuple[dict[str, Any], Report]:
    document = _read(content, where)
    record = document["record"]
    report = Report(sha256=str(document["sha256"]), public_key=str(document["public_key"]))
    steps = (_whole, _sealed, _manifest, _signatures, _outcome, _events)
    for step in steps:
        try:
            report.problems += step(document)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            report.problems.append(Problem("/", f"its structure is not that of a record: {error!r}"))
    if trusted_key is None:
        report.notes.append(
            f"It was signed with the key {document['public_key']}. Compare it with the one that the owner of the "
            "DAM has published: whoever holds another key can sign another record."
        )
    elif trusted_key != document["public_key"]:
        report.problems.append(Problem("/public_key", "it was signed with another key than the one that is trusted"))
    if record.get("package", {}).get("status") == "in_review":
        report.notes.append("The review was still open when this was exported.")
    return document, report


def _read(content: bytes, where: str) -> dict[str, Any]:
    """Return the document. :raises BadInput: it is none of ours."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):  # another reader might take the other one
            raise ValueError("a name is there twice")
        return found

    try:
        document = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"can't be read: {error}", where=where, remedy="Ask for the file again.") from error
    parts = ("record", "sha256", "signature", "public_key")
    if not isinstance(document, dict) or set(document) != set(parts) or not isinstance(document["record"], dict):
        raise BadInput("is no signed record of a review", where=where, remedy="Name one of `dam record export`.")
    return document


# ------------------------------------------------------------------------------------------------- steps


def _whole(document: dict[str, Any]) -> Iterator[Problem]:
    if document["record"].get("format") != FORMAT:
        yield Problem("/format", f"is not {FORMAT}")
    if hashlib.sha256(canonical(document["record"])).hexdigest() != document["sha256"]:
        yield Problem("/sha256", "the content is not what this SHA-256 was taken of: one of them was edited")
    signed = {"format": FORMAT, "sha256": document["sha256"], "signature": document["signature"]}
    if not audit.check_signature(signed, str(document["public_key"])):
        yield Problem("/signature", "does not fit the SHA-256 and the public key: one of the three was edited")


def _sealed(document: dict[str, Any]) -> Iterator[Problem]:
    """Compare every value with its seal: that names which one was edited."""
    seals = document["record"]["seals"]
    seen = set()
    for path, value in leaves({name: part for name, part in document["record"].items() if name != "seals"}):
        seen.add(path)
        if path not in seals:
            yield Problem(path, "was added, or its seal taken away")
        elif seals[path] != seal(path, value):
            yield Problem(path, f"was edited, or its seal was: it says {_short(value)}")
    for path in seals:
        if path not in seen:
            yield Problem(path, "was taken out, or a seal without a value was added")


def _manifest(document: dict[str, Any]) -> Iterator[Problem]:
    record = document["record"]
    stated = record["package"]["manifest_sha256"]
    if hashlib.sha256(canonical(record["manifest"])).hexdigest() != stated:
        yield Problem("/manifest", "is not what was signed: its SHA-256 is not that of /package/manifest_sha256")
    if set(record["manifest"]["versions"]) != set(record["verdicts"]):
        yield Problem("/verdicts", "are not of the versions in the manifest")
    for index, decision in enumerate(record["decisions"]):
        if decision["manifest_sha256"] != stated:
            yield Problem(f"/decisions/{index}/manifest_sha256", "this signature was given for other content")


def _signatures(document: dict[str, Any]) -> Iterator[Problem]:
    """Compare every signature with the audit event that was written with it."""
    record = document["record"]
    events = [event for event in record["proof"]["events"] if event["action"] == SIGNED]
    taken_back = [event for event in record["proof"]["events"] if event["action"] == WITHDRAWN]
    for index, decision in enumerate(record["decisions"]):
        place = f"/decisions/{index}"
        mine = next((event for event in events if event["data"].get("decision_id") == decision["id"]), None)
        if mine is None:
            yield Problem(place, "the audit trail knows nothing of this signature")
            continue
        yield from (
            Problem(f"{place}/{name}", f"audit event {mine['seq']} says otherwise") for name in _unlike(decision, mine)
        )
        back = decision["withdrawal"] is not None
        if back != any(event["data"].get("decision_id") == decision["id"] for event in taken_back):
            yield Problem(f"{place}/withdrawal", "the audit trail says otherwise")


def _unlike(decision: dict[str, Any], event: dict[str, Any]) -> list[str]:
    told = event["data"] | {"person": event["actor"], "package_id": event["subject_id"]}
    return [name for name in sorted(set(told) & set(decision)) if told[name] != decision[name]]


def _outcome(document: dict[str, Any]) -> Iterator[Problem]:
    """Compare the package's status and verdicts with the audit event that closed it."""
    record = document["record"]
    status = record["package"]["status"]
    actions = [event["action"] for event in record["proof"]["events"]]
    if status != "in_review" and f"package.{status}" not in actions:
        yield Problem("/package/status", f"the audit trail does not know that the package is {status}")
    for event in record["proof"]["events"]:
        told = event["data"].get("manifest_sha256")
        if told is not None and told != record["package"]["manifest_sha256"]:
            yield Problem("/package/manifest_sha256", f"audit event {event['seq']} says otherwise")
        verdicts = event["data"].get("versions")
        closing = event["action"] == f"package.{status}" and isinstance(verdicts, dict)
        for version_id in record["verdicts"] if closing else ():
            if verdicts.get(version_id) != record["verdicts"][version_id]:
                yield Problem(f"/verdicts/{version_id}", f"audit event {event['seq']} says otherwise")


def _events(document: dict[str, Any]) -> Iterator[Problem]:
    """Follow every event to its anchor: hash, neighbours in the chain, Merkle path, the anchor's signature."""
    record = document["record"]
    events, anchors = record["proof"]["events"], record["proof"]["anchors"]
    for index, anchor in enumerate(anchors):
        if not audit.check_signature(anchor, str(document["public_key"])):
            yield Problem(f"/proof/anchors/{index}", "was not signed with the record's key, or was edited")
    if [event["seq"] for event in events] != sorted({event["seq"] for event in events}):
        yield Problem("/proof/events", "are not in the chain's order")
    for index, event in enumerate(events):
        place = f"/proof/events/{index}"
        of_version = event["action"] == DESCRIBED and event["subject_id"] in record["manifest"]["versions"]
        if event["subject_id"] != record["package"]["id"] and not of_version:
            yield Problem(f"{place}/subject_id", "is of another package")
        told = {name: value for name, value in event.items() if name not in PROVEN}
        if audit.digest(told) != event["sha256"]:
            yield Problem(place, f"audit event {event['seq']} is not what was hashed: it was edited")
        before = events[index - 1] if index else None
        if before and before["seq"] + 1 == event["seq"] and before["sha256"] != event["previous_sha256"]:
            yield Problem(f"{place}/previous_sha256", "does not continue the event before it")
        anchor = anchors[event["anchor"]]
        size = anchor["seq"] - anchor["first"] + 1
        if merkle.climb(event["sha256"], event["seq"] - anchor["first"], size, event["path"]) != anchor["root"]:
            yield Problem(
                f"{place}/path", f"does not lead from audit event {event['seq']} to the root that was anchored"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
