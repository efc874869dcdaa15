"""One look at a file: format by content, safety, full decode. Runs in the decoding process."""

from __future__ import annotations

from typing import Any

from dam.errors import BadInput
from dam.ingest import formats, inspectors, provenance
from dam.ingest.inspection import CantCheck, Job, Unusable


def look(job: Job) -> dict[str, Any]:
    """Look into a file and return what was found, as JSON keeps it.

    :returns: ``{"media_type", "kind", "extensions"}`` with one of ``"told"``
        (:class:`~dam.ingest.inspection.Inspection` as a dict), ``"unusable"`` (why it goes into quarantine) or
        ``"opaque"`` (why nobody can tell).
    """
    found = formats.OPAQUE
    answer: dict[str, Any] = {}
    try:
        found = formats.identify(job.path)
        told = inspectors.inspector(found.inspector)(job, found)
        if credentials := provenance.read(job.path, found.media_type):
            told.embedded["C2PA"] = credentials
            if credentials["state"] in ("invalid", "unreadable"):
                problems = ", ".join(credentials["problems"])
                told.notes.append(f"Its Content Credentials do not hold: {problems}.")
        answer["told"] = told.as_dict()
    except CantCheck as error:
        answer["opaque"] = f"{error.what} {error.remedy}".strip()
    except Unusable as error:
        answer["unusable"] = f"{error.what} {error.remedy}".strip()
    except MemoryError:
        answer["unusable"] = "Opening it needs more memory than is allowed here."
    except BadInput as error:
        answer["unusable"] = f"{error.what} {error.remedy}".strip()
    return answer | {"media_type": found.media_type, "kind": found.kind, "extensions": list(found.extensions)}
