"""Makes what many tests need: pictures, a campaign with a signed brief, ingested batches, packages."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyexiv2
from PIL import Image
from sqlalchemy.orm import Session

from dam.catalog.lifecycle import ALLOWED
from dam.catalog.models import Version, VersionState
from dam.create import deliverables
from dam.enrich import contracts
from dam.ingest import batches, gate, inspectors, sandbox
from dam.ingest import look as looking
from dam.ingest.formats import Format
from dam.ingest.inspection import Inspection, Job, Proof
from dam.load import load
from dam.plan import briefs
from dam.review import packages, seats
from dam.services import Services
from dam.settings import PROJECT
from dam.taxonomy import Limits

TODAY = date.today()
METADATA = {
    "Xmp.dc.title": {'lang="x-default"': "A red cup"},
    "Xmp.dc.description": {'lang="x-default"': "An espresso in a red cup on a table."},
    "Xmp.iptc.AltTextAccessibility": {'lang="x-default"': "Red cup on a table"},
    "Xmp.dc.creator": ["Rachel"],
    "Xmp.dc.rights": {'lang="x-default"': "No rights reserved."},
    "Xmp.dc.subject": ["coffee", "cup"],
    "Xmp.xmpRights.WebStatement": "https://creativecommons.org/publicdomain/zero/1.0/",
}


#: What a bare picture lacks, filled in.
WHOLE = {
    "title": "Shapes", "description": "Soft shapes.", "alt_text": "Soft shapes, blurred", "creator": "Zoë",
    "copyright_notice": "© Northlight", "licence": "NORTH-1", "holder": "Northlight", "kind": "owned",
    "territories": ["*"], "channels": ["*"], "tags": ["subject/coffee"],
}  # fmt: skip


def picture(
    folder: Path, name: str, *, seed: int = 1, size: tuple[int, int] = (1300, 900), xmp: dict[str, Any] | None = None
) -> Path:
    """Write a picture of soft shapes, which every seed makes another, with full metadata unless told otherwise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    kind = {"png": "PNG", "tif": "TIFF", "webp": "WEBP"}.get(path.suffix[1:].lower(), "JPEG")
    image.save(path, kind, quality=90)
    if kind == "JPEG":
        with pyexiv2.Image(str(path)) as opened:
            opened.modify_xmp(METADATA if xmp is None else xmp)
    return path


def form(**changes: Any) -> dict[str, Any]:
    """Return a brief form without a fault, with changes."""
    filled: dict[str, Any] = {
        "name": "Spring 2027",
        "slug": "spring-2027",
        "project": "SPRING27",
        "client": "ACME",
        "goals": "20 % more visits by May",
        "audience": "City people",
        "channels": ["web", "cms"],
        "markets": ["DE", "FR"],
        "starts_on": TODAY.isoformat(),
        "ends_on": (TODAY + timedelta(days=90)).isoformat(),
        "budget": 48000,
        "owners": {"marketing_lead": "maya", "designer": "dario"},
        "deliverables": [
            {
                "project": name,
                "title": f"Picture {name}",
                "kind": "image",
                "channels": ["web"],
                "markets": ["DE"],
                "due_on": (TODAY + timedelta(days=14)).isoformat(),
            }
            for name in ("HERO-A", "HERO-B")
        ],
    }
    return filled | changes


def signed_brief(services: Services, **changes: Any) -> str:
    """Draft and sign a brief; return its id."""
    brief_id = str(briefs.draft(services, form=form(**changes), drafted_by="maya")["brief_id"])
    sign_brief(services, brief_id)
    return brief_id


def sign_brief(services: Services, brief_id: str, *, person: str = "maya") -> dict[str, Any]:
    """Sign a brief as the verdict of its package does; return what became of it."""
    with services.session() as session:
        return briefs.sign(services, session, briefs.known(session, brief_id, lock=True), person=person)


def send_brief_back(services: Services, brief_id: str, *, reason: str = "too dear") -> None:
    """Send a brief back as the verdict of its package does."""
    with services.session() as session:
        briefs.send_back(session, briefs.known(session, brief_id, lock=True), person="maya", reason=reason)


def drop(services: Services, location: str, files: Sequence[Path], *, sent_by: str = "northlight", **card: Any) -> str:
    """Put files into the inbox and register them as a batch; return its id."""
    for path in files:
        services.storage.inbox.put(f"{location}/{path.name}", path)
    return batches.register(services, location=location, source="inbox", sent_by=sent_by, **card)


def limit(services: Services, **changes: Any) -> None:
    """Change limits of the taxonomy for this test, e.g. ``quiet_seconds=0``."""
    services.taxonomy.__dict__["limits"] = services.taxonomy.limits.model_copy(update=changes)


def ingest(services: Services, batch_id: str) -> dict[str, int]:
    """Take a batch through the gate; return counts by outcome."""
    total: dict[str, int] = {}
    for chunk in batches.plan_chunks(services, batch_id=batch_id):
        for outcome, count in gate.ingest_chunk(services, batch_id=batch_id, file_ids=chunk).items():
            total[outcome] = total.get(outcome, 0) + count
    return total


def look(path: Path, recipes: Path | None = None, **limits: Any) -> dict[str, Any]:
    """Look into a file as the decoding process does, in this process; ``proofs`` hold their bytes as ``data``."""
    known = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
    recipes = recipes or PROJECT / "include" / "templates" / "recipes.yaml"
    with sandbox.scratch() as scratch:
        answer = looking.look(Job(path, path.name, scratch, known | limits, recipes))
        for proof in answer.get("told", {}).get("proofs", []):
            proof["data"] = (scratch / proof["file"]).read_bytes()
    return answer


def inspected(path: Path, module: str, *, side: int = 0, **limits: Any) -> Inspection:
    """Let one inspector look into a file, whatever its format is taken for; proofs' files hold their bytes as ``data``.

    :param module: of :mod:`dam.ingest.inspectors`. :param side: of previews in pixels, in place of the recipe's.
    :raises Unusable: as the inspector does; or ``CantCheck``.
    """
    known = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
    recipes = PROJECT / "include" / "templates" / "recipes.yaml"
    with sandbox.scratch() as scratch, tempfile.TemporaryDirectory() as folder:
        if side:
            encode = "fit: inside, encode: {format: jpeg, quality: 80}"
            recipes = Path(folder) / "recipes.yaml"
            recipes.write_text(
                f"preview: {{width: {side}, height: {side}, {encode}}}\n"
                f"thumbnail: {{from: preview, width: 64, height: 64, {encode}}}\n"
            )
        # as the gate does: a nameless file in memory, which not every library opens by its path
        number = os.memfd_create("file")
        try:
            os.write(number, path.read_bytes())
            job = Job(Path(f"/proc/{os.getpid()}/fd/{number}"), path.name, scratch, known | limits, recipes)
            told = inspectors.inspector(module)(job, Format("application/octet-stream", "opaque", ()))
        finally:
            os.close(number)
        kept = [Shown(**asdict(proof), data=(scratch / proof.file).read_bytes()) for proof in told.proofs]
    told.proofs = list(kept)
    return told


@dataclass(frozen=True, slots=True)
class Shown(Proof):
    """A proof with its bytes."""

    data: bytes = b""

    def picture(self) -> Image.Image:
        """Return it as a picture."""
        return Image.open(io.BytesIO(self.data)).convert("RGB")


def designers_batch(services: Services, tmp_path: Path) -> tuple[str, list[str]]:
    """Take a signed brief's two deliverables through create and ingest; return batch and complete versions."""
    limit(services, settle_seconds=0)  # the files are whole
    opened = deliverables.open_tasks(services, brief_id=signed_brief(services))
    for seed, name in enumerate(("HERO-A", "HERO-B"), start=1):
        path = picture(tmp_path / "made", f"SPRING27-{name}_ACME_20270301_v01.jpg", seed=seed)
        services.storage.inbox.put(f"{opened['location']}/{path.name}", path)
    deliverables.submit(services, batch_id=opened["batch_id"])
    ingest(services, opened["batch_id"])
    report = contracts.check(services, batch_id=opened["batch_id"])
    return opened["batch_id"], report.complete


def bring_to(session: Session, version: Version, state: str) -> None:
    """Add a version and take it to a state by allowed changes, as the stages before would have, unaudited."""
    session.add(version)
    session.flush()
    ways: dict[str, list[VersionState]] = {VersionState.RECEIVED: []}
    for known in (queue := [VersionState.RECEIVED]):
        for after in sorted(ALLOWED[known] - set(ways)):
            ways[after] = [*ways[known], after]
            queue.append(after)
    for step in ways[state]:
        version.state = step
        session.flush()


def sign_all(services: Services, package_id: str, verdict: str = "approve", **versions: Any) -> dict[str, Any]:
    """Sign every seat by its first eligible person; return the verdict."""
    for seat in packages.seats(services, package_id=package_id):
        seats.decide(
            services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict=verdict, versions=versions or None
        )
    return packages.verdict(services, package_id=package_id)


def truncated(path: Path, share: float) -> Path:
    """Cut a file off and return it."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def png_bytes(size: tuple[int, int] = (20, 20)) -> bytes:
    """Return a tiny PNG."""
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()
