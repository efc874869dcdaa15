"""Briefs: drafted from a form and a template, checked, signed and frozen, or sent back."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from dam import audit
from dam.catalog.models import Batch, Brief, Campaign, CreatorTask, Deliverable, utcnow
from dam.errors import BadInput, Fault, NotFound, Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: What the form asks for: field → what it is. Everything is needed unless it says otherwise.
FORM: dict[str, str] = {
    "name": "the campaign's name",
    "slug": "its short name in URLs and folders, e.g. spring-2027",
    "project": "the PROJECT part of file names, e.g. SPRING27",
    "client": "the CLIENT part of file names, e.g. ACME",
    "template": "name of a file in include/templates/briefs (optional: standard)",
    "goals": "what the campaign is to reach, measurably",
    "audience": "whom it speaks to",
    "channels": "list of channels in include/templates/channels",
    "markets": "list of countries, ISO 3166-1 alpha-2",
    "starts_on": "first day, ISO date",
    "ends_on": "last day, ISO date",
    "budget": "money, more than zero",
    "currency": "ISO 4217 code (optional: the template's)",
    "owners": "role → username",
    "deliverables": "list of {project, title, kind, variant, channels, markets, due_on}",
    "kpi_targets": "name → number (optional: the template's)",
}
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CODE = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)*")
VARIANT = re.compile(r"[A-Z0-9]{1,8}")
#: What a brief's own document has where a deliverable's file has its PROJECT part.
DOCUMENT = "BRIEF"
#: Where a batch came from that is a brief's document.
SOURCE = "brief"
#: SQL: the batches that are documents of briefs. They are no work of creators, and nothing counts them as such.
BATCHES = select(Batch.id).where(Batch.source == SOURCE)
KINDS = ("image", "video", "audio", "document", "model")
#: Fields that the campaign itself is made of; with a fault in one of them there is nothing to draft.
CAMPAIGNS = frozenset(FORM) - {"goals", "audience", "deliverables"}
#: More money than a campaign costs; the catalogue holds no more.
MOST_MONEY = Decimal(10) ** 12


# --------------------------------------------------------------------------------------------- checking


class _Checker:
    """Collects every fault of a form instead of stopping at the first."""

    def __init__(self, services: Services, form: dict[str, Any]) -> None:
        self.services, self.form = services, form
        self.faults: list[Fault] = []

    def fault(self, field: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(field, problem, remedy))

    def text(self, field: str, value: Any, what: str) -> None:
        if not isinstance(value, str) or not value.strip():
            self.fault(field, "is empty.", f"Fill in {what}.")

    def pattern(self, field: str, value: Any, pattern: re.Pattern[str], example: str) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.fault(field, f"{value!r} is not of the form {example}.", "Write it like that.")

    def day(self, field: str, value: Any) -> date | None:
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fault(field, f"{value!r} is no date.", "Write it as 2027-03-01.")
            return None

    def known(self, field: str, values: Any, known: list[str], what: str) -> None:
        if not isinstance(values, list) or not values:
            self.fault(field, "is empty.", f"Name at least one {what}.")
            return
        for value in values:
            if value not in known:
                self.fault(field, f"{value!r} is no {what}.", f"Use: {', '.join(known)}.")

    def markets(self, field: str, values: Any) -> None:
        if not isinstance(values, list) or not values:
            self.fault(field, "is empty.", "Name at least one country, e.g. DE.")
            return
        for value in values:
            if not isinstance(value, str) or value not in countries(self.services):
                self.fault(field, f"{value!r} is no country code.", "Use ISO 3166-1 alpha-2, e.g. DE.")

    def within(self, field: str, values: Any, campaigns: Any, what: str) -> None:
        """Check that a deliverable asks for nothing that its campaign does not."""
        if any(fault.field == field for fault in self.faults) or not isinstance(campaigns, list):
            return
        for value in values:
            if value not in campaigns:
                self.fault(field, f"{value!r} is not among the campaign's {what}.", "Add it there, or remove it.")

    def run(self) -> list[Fault]:
        form = self.form
        for field in ("name", "goals", "audience"):
            self.text(field, form.get(field), FORM[field])
        self.pattern("slug", form.get("slug"), SLUG, "spring-2027")
        self.pattern("project", form.get("project"), CODE, "SPRING27")
        self.pattern("client", form.get("client"), re.compile(r"[A-Z0-9]+"), "ACME")
        self.pattern("currency", form.get("currency"), re.compile(r"[A-Z]{3}"), "EUR")
        channels = channel_names(self.services)
        self.known("channels", form.get("channels"), channels, "channel")
        self.markets("markets", form.get("markets"))
        starts, ends = self.day("starts_on", form.get("starts_on")), self.day("ends_on", form.get("ends_on"))
        if starts and ends and ends < starts:
            self.fault("ends_on", "is before starts_on.", "Put the last day after the first.")
        self._budget()
        self._owners()
        self._targets()
        self._deliverables(ends, channels)
        return self.faults

    def _budget(self) -> None:
        budget = self.form.get("budget")
        try:
            if not 0 < Decimal(str(budget)) < MOST_MONEY:
                self.fault("budget", "is not more than zero, or too much.", "Fill in the money for the campaign.")
        except InvalidOperation:
            self.fault("budget", f"{budget!r} is no number.", "Fill in a number, e.g. 48000.")

    def _targets(self) -> None:
        targets = self.form.get("kpi_targets")
        if not isinstance(targets, dict) or not targets:
            self.fault("kpi_targets", "is no table.", 'Write it like {"approval_hours": 72}.')
            return
        for name, target in targets.items():
            if isinstance(target, bool) or not isinstance(target, int | float):
                self.fault(f"kpi_targets.{name}", f"{target!r} is no number.", "Fill in what is to be reached.")

    def _owners(self) -> None:
        owners = self.form.get("owners")
        if not isinstance(owners, dict):
            self.fault("owners", "is no table.", 'Write it like {"designer": "dario"}.')
            return
        for role in owner_roles(self.services):
            if role not in owners:
                self.fault(f"owners.{role}", "is not named.", f"Name one: {self._holders(role)}.")
        for role, person in owners.items():
            if not self.services.workflow.has_role(str(person), role):
                self.fault(f"owners.{role}", f"{person!r} does not hold that role.", f"Use: {self._holders(role)}.")

    def _holders(self, role: str) -> str:
        return ", ".join(self.services.workflow.members(role)) or "nobody holds it yet"

    def _deliverables(self, ends: date | None, channels: list[str]) -> None:
        rows = self.form.get("deliverables")
        least = template(self.services, self.form)["least_deliverables"]
        if not isinstance(rows, list) or len(rows) < least:
            self.fault("deliverables", f"has fewer than {least} rows.", "Say what is to be made.")
            return
        projects: set[str] = set()
        ideas: set[tuple[str, str]] = set()
        for index, row in enumerate(rows):
            at = f"deliverables[{index}]"
            if not isinstance(row, dict):
                self.fault(at, "is no row.", 'Write it like {"project": "HERO", "title": "…"}.')
                continue
            self._deliverable(at, row, ends, channels)
            project, idea = str(row.get("project")), (str(row.get("title")), str(row.get("variant")))
            if project in projects:
                self.fault(f"{at}.project", "is there twice.", "Give each row a project part of its own.")
            elif idea in ideas:
                self.fault(f"{at}.variant", "is there twice for this title.", "Tell the rows apart: A, B, …")
            projects.add(project)
            ideas.add(idea)

    def _deliverable(self, at: str, row: dict[str, Any], ends: date | None, channels: list[str]) -> None:
        self.pattern(f"{at}.project", row.get("project"), CODE, "HERO-A")
        if row.get("project") == DOCUMENT:
            self.fault(f"{at}.project", "is what the brief's own document is named by.", "Give it another name.")
        self.text(f"{at}.title", row.get("title"), "what it is")
        if (row.get("kind") or "image") not in KINDS:
            self.fault(f"{at}.kind", f"{row.get('kind')!r} is unknown.", f"Use: {', '.join(KINDS)}.")
        if row.get("variant") is not None:
            self.pattern(f"{at}.variant", row["variant"], VARIANT, "A")
        self.known(f"{at}.channels", row.get("channels"), channels, "channel")
        self.within(f"{at}.channels", row.get("channels"), self.form.get("channels"), "channels")
        self.markets(f"{at}.markets", row.get("markets"))
        self.within(f"{at}.markets", row.get("markets"), self.form.get("markets"), "markets")
        due = self.day(f"{at}.due_on", row.get("due_on"))
        if due and ends and due > ends:
            self.fault(f"{at}.due_on", "is after the campaign's end.", "Make it due earlier.")


def owner_roles(services: Services) -> list[str]:
    """Return the roles that every brief names a person for: who owns planning and who owns making."""
    stages = services.workflow.stages
    return list(dict.fromkeys((stages["plan"].owner, stages["create"].owner)))


def channel_names(services: Services) -> list[str]:
    """Return the names of the channels there are: the files of ``include/templates/channels``."""
    return sorted(path.stem for path in (services.settings.include / "templates" / "channels").glob("*.yaml"))


def countries(services: Services) -> frozenset[str]:
    """Return the country codes that are known (ISO 3166-1 alpha-2)."""
    return _countries(services.settings.include / "taxonomy" / "countries.yaml")


@cache
def _countries(path: Path) -> frozenset[str]:
    return frozenset(yaml.safe_load(path.read_text(encoding="utf-8")))


def template(services: Services, form: dict[str, Any]) -> dict[str, Any]:
    """Return the brief template that a form names.

    :raises BadInput: there is no such template.
    """
    name = str(form.get("template") or "standard")
    folder = services.settings.include / "templates" / "briefs"
    path = folder / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9_-]+", name) or not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise BadInput(f"there is no brief template {name!r}", where="template", remedy=f"Use: {known}.")
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def faults_of(services: Services, form: dict[str, Any]) -> list[Fault]:
    """Return every fault of a filled form, template defaults applied."""
    return _Checker(services, form).run()


# ---------------------------------------------------------------------------------------------- the life


def draft(services: Services, *, form: dict[str, Any], drafted_by: str, run: str | None = None) -> dict[str, Any]:
    """Draft a brief; the campaign is made when its slug is new.

    :param form: the fields of :data:`FORM`. :param drafted_by: username.
    :param run: the same run drafts the same brief.
    :returns: ``{"brief_id", "campaign_id", "number", "status"}``.
    :raises BadInput: the form can't be a brief at all; lists every fault. Lesser faults are left to
        :func:`check`, so that the draft can be looked at.
    """
    chosen = template(services, form)
    filled = dict(chosen["defaults"]) | {key: value for key, value in form.items() if value not in (None, "", {})}
    # what is no JSON (dates, NaN) becomes text, so that it can be kept and complained about
    content = json.loads(json.dumps({key: filled.get(key) for key in FORM}, default=str), parse_constant=str)
    content["template"] = str(form.get("template") or "standard")
    faults = faults_of(services, content)
    if any(fault.field in CAMPAIGNS for fault in faults):
        raise BadInput(
            "the form has faults:\n" + "\n".join(f"  {f.field}: {f.problem} {f.remedy}" for f in faults),
            where="brief form",
            remedy="\nTrigger the DAG again with the form corrected.",
        )
    with services.session() as session:
        session.execute(
            insert(Campaign)
            .values(id=_new_campaign_id(), created_at=utcnow(), **_campaign_columns(content))
            .on_conflict_do_nothing(index_elements=["slug"])
        )
        campaign = session.scalars(select(Campaign).where(Campaign.slug == content["slug"]).with_for_update()).one()
        if run and (known := session.scalar(select(Brief).where(Brief.run == run))):
            return _told(known)
        number = (session.scalar(select(func.max(Brief.number)).where(Brief.campaign_id == campaign.id)) or 0) + 1
        brief = Brief(campaign_id=campaign.id, number=number, content=content, drafted_by=drafted_by, run=run)
        session.add(brief)
        session.flush()
        audit.record(
            session,
            actor=drafted_by,
            action="brief.drafted",
            subject_id=brief.id,
            data={"campaign": campaign.slug, "number": number},
            run=run,
        )
        return _told(brief)


def check(services: Services, *, brief_id: str) -> list[Fault]:
    """Return every fault of a brief: completeness, naming, dates, money, owners, channels, markets."""
    with services.session() as session:
        return faults_of(services, known(session, brief_id).content)


def sign(services: Services, session: Session, brief: Brief, *, person: str, run: str | None = None) -> dict[str, Any]:
    """Sign a brief in the transaction of ``session``: freezes and hashes its content, and makes its deliverables.

    Whether the person may, the rules of seats have said (:mod:`dam.plan.signing`). It takes the place of the
    campaign's brief before: what creators still owe for that one is cancelled.

    :param brief: its row is locked.
    :raises Refused: the brief has faults, was sent back, or is older than one that was signed; nothing is changed.
    """
    if brief.status == "signed":
        return _told(brief)
    if faults := faults_of(services, brief.content):
        raise Refused(
            f"the brief has {len(faults)} faults, first {faults[0].field}: {faults[0].problem}",
            where=f"brief {brief.id}",
            remedy="Send it back.",
        )
    campaign = session.get_one(Campaign, brief.campaign_id, with_for_update=True)
    check_newest(session, brief)
    content = brief.content
    for column, value in _campaign_columns(content).items():
        if column != "slug":
            setattr(campaign, column, value)
    _make_deliverables(session, brief, campaign)
    _cancel_tasks(session, brief, person, run)
    brief.sha256 = sha256(content)
    brief.signed_by, brief.signed_at, brief.status = person, utcnow(), "signed"
    audit.record(
        session,
        actor=person,
        action="brief.signed",
        subject_id=brief.id,
        data={"sha256": brief.sha256, "campaign": campaign.slug},
        run=run,
    )
    return _told(brief)


def check_newest(session: Session, brief: Brief) -> None:
    """Refuse a brief that was sent back, or that is older than one that was signed."""
    later = session.scalar(
        select(func.max(Brief.number)).where(
            Brief.campaign_id == brief.campaign_id, Brief.status == "signed", Brief.number > brief.number
        )
    )
    if brief.status == "returned" or later is not None:
        slug = brief.campaign.slug
        raise Refused(
            f"brief {later} of {slug} is signed already" if later else "the brief was sent back",
            where=f"brief {brief.id}",
            remedy="Draft it again: it gets the next number.",
        )


def send_back(session: Session, brief: Brief, *, person: str, reason: str, run: str | None = None) -> None:
    """Send a draft back with a reason, in the transaction of ``session``; one that is signed stays signed.

    :param brief: its row is locked.
    """
    if brief.status != "draft":
        return
    brief.status, brief.return_reason = "returned", reason
    audit.record(session, actor=person, action="brief.returned", subject_id=brief.id, data={"reason": reason}, run=run)


def sections(services: Services, content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a brief's sections as its template has them: heading, and text in Markdown."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True)
    filled = {name: _cells(value) for name, value in content.items()}
    return [
        (section["heading"], environment.from_string(section["text"]).render(filled).strip())
        for section in template(services, content)["sections"]
    ]


def _cells(value: Any, *, in_table: bool = False) -> Any:
    """Return a form's value so that nothing in it ends a cell of a table."""
    if isinstance(value, dict):
        return {name: _cells(part, in_table=True) for name, part in value.items()}
    if isinstance(value, list):
        return [_cells(part, in_table=True) for part in value]
    if not isinstance(value, str):
        return value
    text = value.replace("|", "\\|")
    return " ".join(text.split()) if in_table else text


def sha256(content: dict[str, Any]) -> str:
    """Return the hash of a brief's content, which its signature names."""
    return hashlib.sha256(canonical(content)).hexdigest()


def canonical(value: Any) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, UTF-8. The same content has the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# ------------------------------------------------------------------------------------------------ helpers


def known(session: Session, brief_id: str, *, lock: bool = False) -> Brief:
    """Return a brief. :param lock: with its row locked. :raises NotFound: there is none."""
    found = session.get(Brief, brief_id, with_for_update=lock or None)
    if found is None:
        raise NotFound("there is no such brief", where=brief_id)
    return found


def _told(brief: Brief) -> dict[str, Any]:
    return {
        "brief_id": brief.id,
        "campaign_id": brief.campaign_id,
        "number": brief.number,
        "status": brief.status,
        "sha256": brief.sha256,
    }


def _new_campaign_id() -> str:
    from dam.catalog.models import new_id

    return new_id("cmp")


def _campaign_columns(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "slug": content["slug"],
        "name": content["name"],
        "project": content["project"],
        "client": content["client"],
        "starts_on": date.fromisoformat(content["starts_on"]),
        "ends_on": date.fromisoformat(content["ends_on"]),
        "markets": content["markets"],
        "channels": content["channels"],
        "budget": Decimal(str(content["budget"])),
        "currency": content["currency"],
        "owners": {role: [person] for role, person in content["owners"].items()},
        "kpi_targets": content["kpi_targets"],
    }


def _cancel_tasks(session: Session, brief: Brief, person: str, run: str | None) -> None:
    """Cancel the campaign's open tasks; the new brief's own are opened after this."""
    batches: dict[str, list[str]] = {}
    for task in session.scalars(
        select(CreatorTask)
        .where(CreatorTask.campaign_id == brief.campaign_id, CreatorTask.status == "open")
        .order_by(CreatorTask.id)
        .with_for_update(of=CreatorTask)
    ):
        task.status = "cancelled"
        batches.setdefault(task.batch_id, []).append(task.id)
    for batch_id, task_ids in batches.items():
        audit.record(
            session,
            actor=person,
            action="batch.cancelled",
            subject_id=batch_id,
            data={"tasks": task_ids, "brief_id": brief.id},
            run=run,
        )


def _make_deliverables(session: Session, brief: Brief, campaign: Campaign) -> None:
    for row in brief.content["deliverables"]:
        project = f"{campaign.project}-{row['project']}"
        values = {
            "brief_id": brief.id,
            "title": row["title"],
            "kind": row.get("kind") or "image",
            "variant": row.get("variant"),
            "channels": row["channels"],
            "markets": row["markets"],
            "due_on": date.fromisoformat(row["due_on"]),
        }
        known = session.scalar(
            select(Deliverable).where(Deliverable.campaign_id == campaign.id, Deliverable.project == project)
        )
        if known is None:
            session.add(Deliverable(campaign_id=campaign.id, project=project, **values))
        else:
            for column, value in values.items():
                setattr(known, column, value)
