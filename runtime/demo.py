"""Plays a whole campaign, from brief to archive, on the running stack.

Nobody is simulated inside Airflow: each person logs in and answers over HTTP under their own name, half
of them in the review room's API, half on Airflow's own. What happened is printed stage by stage and
written to ``demo.json`` in the state folder.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import select

from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    Batch,
    BatchFile,
    Campaign,
    NearDuplicate,
    Package,
    PackageVersion,
    Publication,
    Purpose,
    Version,
)
from dam.demo import photos
from dam.errors import DamError
from dam.services import Services
from dam.settings import Settings
from runtime.client import Person, wait_for
from runtime.stack import Stack

#: In the order of the photographs that :func:`dam.demo.photos.make` makes first.
DELIVERABLES = (
    ("HERO-A", "Hero image, wide", "A"),
    ("HERO-B", "Hero image, tall", "B"),
    ("CAT", "The cat at home", None),
    ("ASTRONAUT", "Portrait of the astronaut", None),
    ("ROCKET", "The rocket at dusk", None),
    ("GALAXIES", "Deep sky", None),
)


class DemoFailed(DamError):
    """The demo did not end as it should."""


@dataclass
class Stage:
    """What one stage of the demo came to.

    :param runs: ``dag_id/run_id`` of its DAG runs. :param answers: who answered what, where.
    :param products: what came out, ready to read. :param look: where to look, a URL or a path.
    :param said: which of these lines were printed.
    """

    dag_id: str
    runs: list[str] = field(default_factory=list)
    state: str = "running"
    seconds: float = 0.0
    answers: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    look: str = ""
    said: list[str] = field(default_factory=list)


class Demo:
    """One campaign on one stack."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self.stack, self.say = stack, say
        self.env = stack.start(say)
        self.services = Services(Settings.from_env(environ=self.env))
        passwords = wait_for("the sample users", lambda: stack.passwords() or None, 60)
        self.people = {name: Person(stack.url, name, word) for name, word in passwords.items()}
        self.admin = self.people["ada"]
        self.stages: dict[str, Stage] = {}
        with self.services.session() as session:
            number = len(session.scalars(select(Campaign.id)).all()) + 1
        self.slug = "spring-2027" if number == 1 else f"spring-2027-{number}"
        self.project = "SPRING27" if number == 1 else f"SPRING27{number}"
        self.today = datetime.now(UTC).date()

    # ------------------------------------------------------------------------------------- helpers

    def stage(self, name: str, dag_id: str) -> Stage:
        """Open a stage's record."""
        self.say("")
        self.say(f"── {name.capitalize()} · {dag_id}")
        return self.stages.setdefault(name, Stage(dag_id))

    def close(self, name: str) -> None:
        """Wait for all the stage's runs, add up their time, and print what came out since it was last closed."""
        stage = self.stages[name]
        stage.state, stage.seconds = "success", 0.0
        for run in stage.runs:
            dag_id, run_id = run.split("/", 1)
            done = self.admin.finished(dag_id, run_id)
            begun, ended = (datetime.fromisoformat(done[key]) for key in ("start_date", "end_date"))
            stage.seconds = round(stage.seconds + (ended - begun).total_seconds(), 1)
        fresh = [line for line in (*stage.answers, *stage.products) if line not in stage.said]
        for line in fresh:
            self.say(f"   {line}")
        stage.said += fresh
        self.say(f"   {len(stage.runs)} runs, {stage.seconds:.0f} s · look: {stage.look}")

    def room(self, who: str, seat: dict[str, Any], verdict: str, comment: str = "", **versions: Any) -> int:
        """Answer a seat in the review room; return the HTTP status."""
        reply = self.people[who].http.post(
            f"/dam/api/seats/{seat['seat_id']}/decision",
            json={"verdict": verdict, "comment": comment, "versions": versions},
        )
        if reply.status_code not in (200, 409):
            raise DemoFailed(f"{who} could not answer in the room: {reply.status_code} {reply.text}")
        return reply.status_code

    def note(self, who: str, package_id: str, version_id: str, body: str, *, box: tuple[float, ...]) -> None:
        """Draw a must-fix on a proof. :param box: left, top, width and height in per cent of the picture."""
        selector = {
            "type": "FragmentSelector",
            "conformsTo": "http://www.w3.org/TR/media-frags/",
            "value": "xywh=percent:" + ",".join(f"{number:g}" for number in box),
        }
        with self.services.session() as session:
            sha256 = session.get_one(Version, version_id).sha256
        self.people[who].http.post(
            f"/dam/api/packages/{package_id}/annotations",
            json={
                "version_id": version_id,
                "body": body,
                "kind": "must_fix",
                "target": {"source": f"urn:sha256:{sha256}", "selector": selector},
            },
        ).raise_for_status()

    def tick_off(self, who: str, package_id: str) -> str:
        """Say of each must-fix that travelled to a package that it was answered; return how many of how many were."""
        http = self.people[who].http
        notes = http.get(f"/dam/api/packages/{package_id}/annotations").json()
        travelled = [note for note in notes if note["origin"] and note["kind"] == "must_fix"]
        if not travelled:
            raise DemoFailed("the must-fix of the first version did not travel to the next one")
        for note in travelled:
            http.post(
                f"/dam/api/annotations/{note['annotation_id']}/resolve", json={"resolution": "Readable now."}
            ).raise_for_status()
        [version_id] = self.version_ids(package_id).values()
        fixes = http.get("/dam/api/compare", params={"to": version_id}).json()["must_fixes"]
        return f"{sum(fix['status'] == 'resolved' for fix in fixes)} of {len(fixes)}"

    def record(self, package_id: str) -> str:
        """Export a package's signed record, verify it by itself, and return a line about it."""
        from dam.review import record_check

        reply = self.people["lena"].http.get(f"/dam/packages/{package_id}/record.pdf")
        reply.raise_for_status()
        target = self.stack.state / f"record-{package_id}.pdf"
        target.write_bytes(reply.content)
        report = record_check.verify(target)
        if not report.ok:
            raise DemoFailed(f"the signed record does not hold: {report.problems[0]}")
        return f"signed record of the last review, verified without the database: {target}"

    def seats(self, package_id: str) -> dict[str, dict[str, Any]]:
        """Return the package's seats by role."""
        from dam.review import packages

        return {seat["role"]: seat for seat in packages.seats(self.services, package_id=package_id)}

    def open_seats(self, package_id: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """Wait until the package's review waits for people; return the run and the seats by role."""
        run_id = self.admin.run_of("review_package", package_id)
        for seat in self.seats(package_id).values():
            self.people[seat["eligible"][0]].question("review_package", run_id, "seat")
        return run_id, self.seats(package_id)

    def version_ids(self, package_id: str) -> dict[str, str]:
        """Return asset name → version id of a package."""
        with self.services.session() as session:
            package = session.get_one(Package, package_id)
            return {
                entry.version.asset.name: entry.version_id
                for entry in package.entries
                if entry.version.asset is not None
            }

    def package_of(self, run_id: str, task_id: str) -> str:
        """Wait for the package that an ingest run froze, and return its id."""
        return str(self.admin.wait_result("ingest_batch", run_id, task_id))

    # -------------------------------------------------------------------------------------- stages

    def plan(self) -> str:
        """Draft, check and sign the brief; return its id."""
        stage = self.stage("plan", "plan_brief")
        due = (self.today + timedelta(days=14)).isoformat()
        form = {
            "name": "Spring 2027",
            "slug": self.slug,
            "project": self.project,
            "client": "ACME",
            "goals": "Show that the new thermos goes everywhere: 20 % more visits to its page by May.",
            "audience": "City people of 25 to 40 who are outdoors at weekends",
            "channels": ["web", "cms"],
            "markets": ["DE", "FR"],
            "starts_on": self.today.isoformat(),
            "ends_on": (self.today + timedelta(days=90)).isoformat(),
            "budget": 48000,
            "currency": "EUR",
            "owners": {"marketing_lead": "maya", "designer": "dario"},
            "deliverables": [
                {
                    "project": name,
                    "title": title,
                    "kind": "image",
                    "variant": variant,
                    "channels": ["web", "cms"] if variant else ["web"],
                    "markets": ["DE", "FR"],
                    "due_on": due,
                }
                for name, title, variant in DELIVERABLES
            ],
            "kpi_targets": {"first_time_right": 0.8, "approval_hours": 48},
        }
        run_id = self.people["momo"].trigger("plan_brief", form)  # who drafts a brief never signs it
        stage.runs.append(f"plan_brief/{run_id}")
        question = self.people["maya"].question("plan_brief", run_id, "seat")
        self.people["maya"].answer(question, "Approve", comment="Clear and affordable.")
        stage.answers.append("momo drafted the brief, maya signed it on Airflow's Required Actions API")
        self.admin.finished("plan_brief", run_id)
        brief_id = str(self.admin.result("plan_brief", run_id, "check"))
        package_id = self.admin.result("plan_brief", run_id, "freeze")
        stage.products.append(f"brief {brief_id}, signed and hashed; {len(DELIVERABLES)} deliverables")
        stage.look = f"{self.stack.url}/dam/packages/{package_id}"
        self.close("plan")
        return brief_id

    def create(self, brief_id: str) -> str:
        """Let the designer put the deliverables into the drop folder; return the batch's id."""
        stage = self.stage("create", "create_assets")
        run_id = self.admin.run_of("create_assets", brief_id)
        stage.runs.append(f"create_assets/{run_id}")
        batch_id = str(self.admin.wait_result("create_assets", run_id, "open_tasks"))
        with self.services.session() as session:
            location = session.get_one(Batch, batch_id).location
        names = [f"{self.project}-{name}" for name, _, _ in DELIVERABLES]
        self.say("   making photographs of 12 to 24 megapixels …")
        self.photos = photos.make(
            self.stack.state / "photos", project_names=names, client="ACME", today=self.today, job=self.slug
        )
        self.own = self.photos.good[: len(names)]
        for path in self.own:
            self.drop(path, location)
        stage.answers.append(f"dario put {len(self.own)} photographs into inbox/{location}")
        self.admin.finished("create_assets", run_id)
        stage.products.append(f"batch {batch_id}, complete")
        stage.look = self.services.storage.inbox.where(location)
        self.close("create")
        return batch_id

    def drop(self, path: Path, location: str, name: str = "") -> None:
        """Put one file into the inbox; it appears there whole."""
        self.services.storage.inbox.put(f"{location.rstrip('/')}/{name or path.name}", path)

    def supplier_drop(self, batch_id: str) -> str:
        """Let a supplier drop everything else, bad files included, with a card.

        It comes after the designer's batch went through the gate: of the same bytes twice, the first come is
        the asset and the second its duplicate.
        """
        run_id = self.admin.run_of("ingest_batch", batch_id)
        self.admin.wait_result("ingest_batch", run_id, "metadata_contract")
        location = f"drops/northlight-{self.slug}"
        files = [
            *self.photos.good[len(self.own) :],
            self.photos.duplicate,
            self.photos.near_duplicate,
            self.photos.damaged,
            self.photos.wrong_extension,
            self.photos.without_rights,
        ]
        for path in files:
            self.drop(path, location)
        card = {
            "campaign": self.slug,
            "supplier": "Northlight",
            "sent_by": "northlight",
            "rights": {
                "licence": f"NORTHLIGHT-{self.slug}",
                "holder": "Northlight Pictures",
                "kind": "rights_managed",
                "territories": ["DE", "FR"],
                "channels": ["web", "cms"],
                "starts_on": self.today.isoformat(),
                "ends_on": (self.today + timedelta(days=6)).isoformat(),
                "model_release": "signed",
                "property_release": "not_needed",
                "except": [self.photos.without_rights.name],
            },
        }
        self.services.storage.inbox.put(f"{location}/batch.yaml", yaml.safe_dump(card).encode())
        self.services.storage.inbox.put(f"{location}/_COMPLETE", b"")
        self.say(f"   Northlight dropped {len(files)} files into inbox/{location}")

        def registered() -> str | None:
            with self.services.session() as session:
                return session.scalar(select(Batch.id).where(Batch.location.like(f"{location}%")))

        return wait_for("the supplier's batch", registered)

    def ingest(self, batch_id: str, supplier_batch_id: str) -> tuple[str, list[str]]:
        """Follow both batches through the gate; return the designer's package and the supplier's."""
        stage = self.stage("ingest", "ingest_batch")
        own_run = self.admin.run_of("ingest_batch", batch_id)
        other_run = self.admin.run_of("ingest_batch", supplier_batch_id)
        stage.runs += [f"ingest_batch/{own_run}", f"ingest_batch/{other_run}"]
        own = self.package_of(own_run, "freeze_complete")
        others = [self.package_of(other_run, "freeze_complete")]
        libby = self.people["libby"]
        question = libby.question("ingest_batch", other_run, "librarian")
        missing = self.admin.result("ingest_batch", other_run, "metadata_contract")["incomplete"]
        for version_id in missing:
            reply = libby.http.post(
                f"/dam/api/versions/{version_id}/metadata",
                json={
                    "values": {
                        "licence": "ACME-OWNED",
                        "holder": "ACME",
                        "kind": "owned",
                        "territories": ["*"],
                        "channels": ["*"],
                        "starts_on": self.today.isoformat(),
                        "creator": "ACME Studio",
                        "copyright_notice": "© ACME",
                        "credit_line": "ACME Studio",
                    }
                },
            )
            if reply.status_code != 200:
                raise DemoFailed(f"libby could not fill in {version_id}: {reply.status_code} {reply.text}")
        libby.answer(question, "Done", comment="Ours, by contract.")
        stage.answers.append(f"libby filled in the rights of {len(missing)} versions, and signed that it is done")
        others.append(self.package_of(other_run, "freeze_completed"))
        stage.products += self.receipt(batch_id, supplier_batch_id)
        with self.services.session() as session:
            mine = select(BatchFile.version_id).where(BatchFile.batch_id.in_([batch_id, supplier_batch_id]))
            near = session.scalars(
                select(NearDuplicate).where(NearDuplicate.version_id.in_(mine), NearDuplicate.other_id.in_(mine))
            ).all()
            stage.products.append(f"{len(near)} near-duplicates linked")
        stage.look = f"{self.stack.url}/dam/batches/{supplier_batch_id}"
        self.close("ingest")
        return own, others

    def receipt(self, *batch_ids: str) -> list[str]:
        """Return what became of the batches' files, in lines."""
        with self.services.session() as session:
            rows = session.scalars(select(BatchFile).where(BatchFile.batch_id.in_(batch_ids))).all()
            counts = Counter(row.outcome for row in rows)
            counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            lines = [f"{len(rows)} file{'s' if len(rows) != 1 else ''}: {counted}"]
            for row in rows:
                if row.outcome in ("quarantined", "duplicate", "opaque"):
                    lines.append(f"{row.outcome}: {row.path} – {row.reason}")
                lines += [f"noted: {row.path} – {note}" for note in row.notes]
        return lines

    def review(self, own: str, others: list[str]) -> list[str]:
        """Let brand and legal decide; return the approved packages, the last one after changes."""
        stage = self.stage("review", "review_package")
        # The designer's package: brand signs, then the librarian corrects a title: the approval is void.
        run_id, seats = self.open_seats(own)
        stage.runs.append(f"review_package/{run_id}")
        self.room("bea", seats["brand_reviewer"], "approve", "On brand.")
        versions = self.version_ids(own)
        hero = versions[f"{self.project}-HERO-A_ACME"]
        reply = self.people["libby"].http.post(
            f"/dam/api/versions/{hero}/metadata",
            json={"values": {"title": "Spring 2027: the hero, final title"}},
        )
        reply.raise_for_status()
        status = self.room("lena", seats["legal_reviewer"], "approve", "Cleared.")
        stage.answers.append(
            f"bea approved, libby then changed a title, so lena's signature was refused ({status}): void"
        )
        # Legal is asked again under the next round's hash; Airflow's own seat learns of it by an answer.
        verdict = self.verdict_after(run_id)
        second = str(verdict["next_package_id"])
        run_id, seats = self.open_seats(second)
        stage.runs.append(f"review_package/{run_id}")
        self.room("bea", seats["brand_reviewer"], "approve", "Still on brand.")
        redo = versions[f"{self.project}-CAT_ACME"]
        self.note("lena", second, redo, "The collar tag must be readable.", box=(38.0, 52.0, 14.0, 12.0))
        self.room(
            "lena",
            seats["legal_reviewer"],
            "approve",
            "All but the cat.",
            **{redo: {"verdict": "request_changes", "comment": "Too dark: the collar tag must be readable."}},
        )
        stage.answers.append("round 2: bea approved all; lena drew a must-fix and asked for changes to one picture")
        # The supplier's packages are signed on Airflow's own API.
        for package_id in others:
            run_id, seats = self.open_seats(package_id)
            stage.runs.append(f"review_package/{run_id}")
            for who in ("bea", "lena"):
                values: dict[str, Any] = {"comment": "Fine.", "versions": ""}
                if who == "bea" and (near := self.near_duplicate_in(package_id)):
                    values["versions"] = json.dumps(
                        {near: {"verdict": "reject", "comment": "Nearly the same picture as another."}}
                    )
                question = self.people[who].question("review_package", run_id, "seat")
                self.people[who].answer(question, "Approve", **values)
            stage.answers.append("bea and lena signed a supplier package on Airflow's Required Actions API")
        return [second, *others]

    def verdict_after(self, run_id: str) -> dict[str, Any]:
        """Let Airflow's waiting seat of a void package hear of it, and return the verdict."""
        lena = self.people["lena"]
        detail = [
            question
            for question in lena.http.get(f"/api/v2/dags/review_package/dagRuns/{run_id}/hitlDetails").json()[
                "hitl_details"
            ]
            if not question["response_received"]
        ]
        for question in detail:
            lena.answer(question, "Approve", comment="", versions="")
        return dict(self.admin.wait_result("review_package", run_id, "verdict"))

    def near_duplicate_in(self, package_id: str) -> str | None:
        """Return the package's version that is the near-duplicate file, if it is there."""
        with self.services.session() as session:
            return session.scalar(
                select(BatchFile.version_id)
                .join(PackageVersion, PackageVersion.version_id == BatchFile.version_id)
                .where(PackageVersion.package_id == package_id)
                .where(BatchFile.path == self.photos.near_duplicate.name)
            )

    def rework(self, package_id: str) -> str:
        """Answer the change request with a second version; return its approved package."""
        stage = self.stages["create"]
        run_id = self.admin.run_of("create_assets", package_id)
        stage.runs.append(f"create_assets/{run_id}")
        batch_id = str(self.admin.wait_result("create_assets", run_id, "open_tasks"))
        with self.services.session() as session:
            location = session.get_one(Batch, batch_id).location
        source = next(path for path in self.own if "-CAT_" in path.name)
        self.drop(photos.next_version(source, self.stack.state / "photos"), location)
        stage.answers.append("dario answered the change request with version 2")
        ingest_run = self.admin.run_of("ingest_batch", batch_id)
        self.stages["ingest"].runs.append(f"ingest_batch/{ingest_run}")
        package = self.package_of(ingest_run, "freeze_complete")
        review_run, seats = self.open_seats(package)
        self.stages["review"].runs.append(f"review_package/{review_run}")
        answered = self.tick_off("lena", package)
        self.room("bea", seats["brand_reviewer"], "approve", "Bright now.")
        self.room("lena", seats["legal_reviewer"], "approve", "Readable now.")
        self.stages["review"].answers.append(
            f"round 2 of the picture: lena's must-fix had travelled with it and was ticked off ({answered});"
            " bea and lena approved version 2"
        )
        stage.products.append(f"batch {batch_id}, complete: one picture, version 2")
        self.stages["ingest"].products += self.receipt(batch_id)
        for name in ("create", "ingest"):  # they have one more run each
            self.say("")
            self.say(f"── {name.capitalize()} again, for the picture that had to change")
            self.close(name)
        return package

    def close_review(self) -> None:
        """Sum up the review."""
        stage = self.stages["review"]
        for run in stage.runs:
            dag_id, run_id = run.split("/", 1)
            self.admin.finished(dag_id, run_id)
        with self.services.session() as session:
            for package in session.scalars(
                select(Package)
                .join(Campaign, Campaign.id == Package.campaign_id)
                .where(Campaign.slug == self.slug, Package.purpose == Purpose.RELEASE)
                .order_by(Package.frozen_at)
            ):
                stage.products.append(
                    f"package {package.id}, round {package.round}: {package.status},"
                    f" {len(package.entries)} versions, manifest {package.manifest_sha256[:12]}…"
                )
        stage.look = f"{self.stack.url}/dam/approvals"
        self.say("")
        self.say("── Review · review_package")
        self.close("review")

    def activate(self, package_ids: list[str]) -> None:
        """Follow the approved packages live."""
        stage = self.stage("activate", "activate_package")
        for package_id in package_ids:
            run_id = self.admin.run_of("activate_package", package_id)
            stage.runs.append(f"activate_package/{run_id}")
            self.admin.wait_result("activate_package", run_id, "preflight")
            if risky := self.admin.result("activate_package", run_id, "preflight", key="risky"):
                diego = self.people["diego"]
                question = diego.question("activate_package", run_id, "clear_risks")
                diego.answer(question, "Publish", comment="The takedown is planned for that day.")
                stage.answers.append(f"diego cleared {len(risky)} publications whose licence ends within a month")
            self.admin.finished("activate_package", run_id)
        with self.services.session() as session:
            live = session.scalars(
                select(Publication)
                .join(Version, Version.id == Publication.version_id)
                .join(Asset, Asset.id == Version.asset_id)
                .join(Campaign, Campaign.id == Asset.campaign_id)
                .where(Campaign.slug == self.slug, Publication.status == "live")
                .order_by(Publication.channel, Publication.id)
            ).all()
            self.urls = [url for row in live for url in _urls(row)]
            stage.products.append(f"{len(live)} publications live, {len(self.urls)} endpoints probed")
            stage.products += [f"{row.channel}: {row.live_url}" for row in live[:4]]
            stage.look = next((str(row.live_url) for row in live), "")
        self.close("activate")

    def measure(self) -> None:
        """Visit what is live as the public would, then make the nightly report."""
        stage = self.stage("measure", "measure_nightly")
        hits = 0
        with httpx.Client(headers={"User-Agent": "Mozilla/5.0 (demo visitor)"}, timeout=30) as visitor:
            for number, url in enumerate(self.urls):
                for _ in range(1 + number % 5):
                    hits += visitor.get(url).status_code == 200
        stage.answers.append(f"{hits} visits to the live URLs")
        run_id = self.people["momo"].trigger("measure_nightly")
        stage.runs.append(f"measure_nightly/{run_id}")
        self.admin.finished("measure_nightly", run_id)
        report = self.admin.result("measure_nightly", run_id, "kpi_report")
        for kpi in report["kpis"]:
            value = "–" if kpi["value"] is None else f"{kpi['value']:.3g}"
            stage.products.append(f"{kpi['name']}: {value} {kpi['unit']}")
        stage.look = f"{self.stack.url}/dam/reports/{report['report_id']}"
        self.close("measure")

    def archive(self, package_id: str) -> None:
        """Let a licence end, prove the takedown, move what is over to cold storage."""
        stage = self.stage("archive", "archive_nightly")
        later = (self.today + timedelta(days=7)).isoformat()
        run_id = self.people["diego"].trigger("licence_expiry_sweep", {"today": self.today.isoformat()})
        stage.runs.append(f"licence_expiry_sweep/{run_id}")
        self.admin.finished("licence_expiry_sweep", run_id)
        alerts = self.admin.result("licence_expiry_sweep", run_id, "alert")
        stage.products.append(f"{len(alerts)} licence alerts mailed, see {self.stack.state / 'mail'}")
        run_id = self.people["diego"].trigger("licence_expiry_sweep", {"today": later})
        stage.runs.append(f"licence_expiry_sweep/{run_id}")
        self.admin.finished("licence_expiry_sweep", run_id)
        taken = self.admin.result("licence_expiry_sweep", run_id, "takedown")
        with self.services.session() as session:
            row = session.scalar(
                select(Publication).where(Publication.status == "withdrawn").order_by(Publication.id.desc())
            )
            if row is None:
                raise DemoFailed("no publication was withdrawn although the supplier's licence has ended")
            dead = _urls(row)[0]
        stage.products.append(
            f"{len(taken)} publications withdrawn at expiry; {dead} answers {httpx.get(dead).status_code}"
        )
        run_id = self.admin.trigger("archive_nightly")
        stage.runs.append(f"archive_nightly/{run_id}")
        self.admin.finished("archive_nightly", run_id)
        with self.services.session() as session:
            confirmed = session.scalars(select(ArchiveConfirmation)).all()
            stage.products.append(f"{len(confirmed)} versions in cold storage, each with its confirmation")
        anchor = self.admin.result("archive_nightly", run_id, "anchor_audit")
        stage.products.append(f"audit chain verified, head {anchor['sha256'][:12]}… anchored at {anchor['seq']}")
        stage.products.append(self.record(package_id))
        stage.look = self.services.storage.reports.where("")
        self.close("archive")

    # --------------------------------------------------------------------------------------- report

    def write(self, seconds: float) -> Path:
        """Write ``demo.json`` and return its path."""
        with self.services.session() as session:
            versions = [
                {
                    "asset": version.asset.name if version.asset else None,
                    "version": version.number,
                    "version_id": version.id,
                    "sha256": version.sha256,
                    "state": version.state,
                    "tier": version.tier,
                }
                for version in session.scalars(
                    select(Version)
                    .join(Batch, Batch.id == Version.batch_id)
                    .join(Campaign, Campaign.id == Batch.campaign_id)
                    .where(Campaign.slug == self.slug)
                    .order_by(Version.id)
                )
            ]
            refused = [
                {"path": row.path, "batch": row.batch_id, "outcome": row.outcome, "reason": row.reason}
                for row in session.scalars(
                    select(BatchFile)
                    .join(Batch)
                    .join(Campaign, Campaign.id == Batch.campaign_id)
                    .where(Campaign.slug == self.slug)
                    .where(BatchFile.outcome.in_(["quarantined", "duplicate", "opaque"]))
                    .order_by(BatchFile.path)
                )
            ]
        told = {
            "campaign": self.slug,
            "url": f"{self.stack.url}/dam/",
            "seconds": round(seconds, 1),
            "stages": {
                name: {
                    "dag_id": stage.dag_id,
                    "dag_runs": stage.runs,
                    "state": stage.state,
                    "seconds": stage.seconds,
                    "answers": stage.answers,
                    "products": stage.products,
                    "look": stage.look,
                }
                for name, stage in self.stages.items()
            },
            "versions": versions,
            "refused": refused,
        }
        target = self.stack.state / "demo.json"
        scratch = target.with_suffix(".part")
        scratch.write_text(json.dumps(told, indent=2, ensure_ascii=False, default=str))
        shutil.move(scratch, target)
        return target


def _urls(publication: Publication) -> list[str]:
    return [str(point["url"] if isinstance(point, dict) else point) for point in publication.endpoints]


def play(stack: Stack, say: Callable[[str], None]) -> Path:
    """Start the stack if needed, play the campaign, and return the path of ``demo.json``.

    :raises DamError: something did not happen as it should; the message says what, with the log.
    """
    begun = time.monotonic()
    demo = Demo(stack, say)
    say(f"Airflow is up: {stack.url}")
    brief_id = demo.plan()
    batch_id = demo.create(brief_id)
    supplier_batch_id = demo.supplier_drop(batch_id)
    own, others = demo.ingest(batch_id, supplier_batch_id)
    packages = demo.review(own, others)
    packages.append(demo.rework(packages[0]))
    demo.close_review()
    demo.activate(packages)
    demo.measure()
    demo.archive(packages[-1])
    target = demo.write(time.monotonic() - begun)
    say("")
    say(f"The campaign {demo.slug} went through all seven stages in {time.monotonic() - begun:.0f} s.")
    say(f"Open {stack.url}/dam/ (log-ins: make up). The whole story: {target}")
    return target
