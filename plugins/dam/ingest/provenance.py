"""Content Credentials: the signed provenance that a file may carry (C2PA specification 2), verified."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dam.ingest.content import Content
from dam.ingest.safety import ends

#: The UUID of a C2PA manifest store in its JUMBF box: whoever carries one carries these bytes.
_MARK = re.compile(re.escape(bytes.fromhex("63327061 0011 0010 8000 00AA00389B71")))


def read(path: Path, media_type: str) -> dict[str, Any] | None:
    """Return what a file's Content Credentials say, and whether they hold; None when it carries none.

    Nothing is fetched from anywhere: a manifest that lies elsewhere counts as none.

    :returns: ``{"state", "claim_generator", "title", "signed_by", "signed_at", "actions", "source_types",
        "ingredients", "problems"}``. ``state`` is ``trusted`` (valid, by a signer on the trust list), ``valid``
        (the bytes are those that were signed), ``invalid`` (they are not) or ``unreadable``.
    """
    with Content(path) as content:
        if content.search(_MARK, 0, ends.of_front(content)) is None:
            return None
    import c2pa

    try:
        settings = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
        with path.open("rb") as stream, c2pa.Reader(media_type, stream, context=c2pa.Context(settings)) as reader:
            store = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, OSError) as error:
        return {"state": "unreadable", "problems": [str(error)[:300]]}
    return _told(store)


def _told(store: dict[str, Any]) -> dict[str, Any]:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    problems = [entry.get("code", "") for entry in results.get("failure", [])]
    signature = manifest.get("signature_info", {})
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    generators = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    return {
        "state": str(store.get("validation_state", "invalid")).lower(),
        "claim_generator": ", ".join(str(one.get("name")) for one in generators if one.get("name")),
        "title": manifest.get("title"),
        "signed_by": signature.get("issuer"),
        "signed_at": signature.get("time"),
        "actions": [action.get("action") for action in actions],
        "source_types": sorted({a["digitalSourceType"] for a in actions if a.get("digitalSourceType")}),
        "ingredients": [one.get("title") for one in manifest.get("ingredients", [])],
        "problems": sorted(set(problems)),
    }
