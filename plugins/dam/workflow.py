"""The workflow template: people, stages with their RACI, and the seats a package needs.

Loaded from ``include/templates/workflow.yaml``. A fault in it names the file, the line and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dam.calendars import PLAIN, Calendar, known_holidays
from dam.errors import BadInput
from dam.load import Mistake, fault, line_of
from dam.review.reminder_policy import Reminders

Role = Annotated[str, Field(pattern=r"^[a-z]+(_[a-z]+)*$")]


class _Strict(BaseModel):
    # every DAG file imports this when it is parsed: the models are built once, as parts of the one that is used
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Person(_Strict):
    """Somebody with a log-in. ``airflow_role`` is the role in Airflow's auth manager."""

    username: str = Field(pattern=r"^[a-z][a-z0-9_.-]*$")
    name: str = Field(min_length=1)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    roles: list[Role] = Field(min_length=1)
    airflow_role: Literal["viewer", "user", "op", "admin"]


class Raci(_Strict):
    """Who is responsible, accountable, consulted and informed; roles."""

    responsible: list[Role] = Field(min_length=1)
    accountable: list[Role] = Field(min_length=1)
    consulted: list[Role] = []
    informed: list[Role] = []


class Stage(_Strict):
    """One stage of the lifecycle: its owner, what goes in, what is done, when it is over."""

    title: str
    owner: Role
    input: str
    tasks: list[str] = Field(min_length=1)
    exit_criterion: str
    deadline_hours: float = Field(gt=0)
    raci: Raci


class When(_Strict):
    """What must hold of a package for a seat to be needed: of one of its versions, all that is written here.

    :param people_shown: somebody can be seen: its tags say so (``policy.people_shown``), or its rights speak of a
        model release. :param markets: it is meant for one of these. :param channels: likewise.
    :param media: kinds of assets.
    """

    people_shown: Literal[True] | None = None
    markets: list[str] = []
    channels: list[str] = []
    media: list[Literal["image", "video", "audio", "document", "vector", "model", "font", "other"]] = []


class SeatRule(_Strict):
    """A role that every package asks.

    :param veto: whether its "reject" ends a review. :param external: whether somebody without a log-in may be invited
        to sign it. :param signatures: how many different people must sign.
    :param stage: seats of a later stage open when all of the earlier ones have closed.
    :param when: the package needs it only then; every package without it.
    :param due_hours: hours to sign, by the clock. :param due_days: instead of them, working days of a calendar.
    :param calendar: the name of that calendar; the file's first when left out.
    """

    role: Role
    veto: bool = True
    external: bool = False
    signatures: int = Field(default=1, ge=1, le=20)
    stage: int = Field(default=1, ge=1, le=9)
    when: When | None = None
    due_hours: float | None = Field(default=None, gt=0)
    due_days: float | None = Field(default=None, gt=0, le=260)
    calendar: str | None = None

    @model_validator(mode="after")
    def _one_deadline(self) -> SeatRule:
        if (self.due_hours is None) == (self.due_days is None):
            raise Mistake("a seat has one deadline", remedy="Give it either due_hours or due_days.")
        if self.calendar is not None and self.due_days is None:
            raise Mistake("only working days need a calendar", remedy="Write due_days, or leave the calendar out.")
        return self

    @property
    def due(self) -> dict[str, Any]:
        """The deadline as a seat keeps it: ``{"hours"}`` or ``{"days", "calendar"}``."""
        if self.due_days is None:
            return {"hours": self.due_hours}
        return {"days": self.due_days, "calendar": self.calendar}


class Risks(_Strict):
    """What the digital team clears before it goes out, although the rights allow it.

    :param days_left: a licence that ends sooner than this many days after the start. 0: none.
    :param licence_kinds: kinds of licences with duties to be checked. :param held: assets under a legal hold.
    :param made_by_ai: assets that say of themselves that a trained model made them, or a part of them.
    """

    days_left: Annotated[int, Field(ge=0)] = 30
    licence_kinds: list[str] = []
    held: bool = True
    made_by_ai: bool = True


class Policy(_Strict):
    """House rules: who never signs, what needs a second look, and which roles see where a picture was taken.

    :param rest: what becomes of the approved versions of a package while changes to others are asked for: each
        ``goes_on`` by itself, or the package ``waits`` and goes out as one.
    :param people_shown: terms of the vocabulary that say that people can be seen, with those below them.
    """

    makers_never_sign: Literal[True] = True
    rest: Literal["goes_on", "waits"] = "goes_on"
    people_shown: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]] = []
    risks: Risks = Risks()
    see_place: list[str] = []


class SignOffs(_Strict):
    """Who signs what is no release; where nobody is named, the owner of the stage does, within its deadline."""

    brief: list[SeatRule] = []
    metadata: list[SeatRule] = []


class Workflow(_Strict):
    """The whole template."""

    people: dict[str, Person]
    stages: dict[str, Stage]
    seats: list[SeatRule] = Field(min_length=1)
    sign_offs: SignOffs = SignOffs()
    calendars: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Calendar] = {}
    drops: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]] = []
    policy: Policy = Policy()
    reminders: Reminders = Reminders()

    @classmethod
    def load(cls, path: Path) -> Workflow:
        """Load a template; the parsed file is kept until it changes.

        :raises BadInput: the file is missing or has a fault; names file, line and remedy.
        """
        try:
            return _load(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            raise BadInput("does not exist", where=str(path), remedy="Restore it from the repository.") from None

    @classmethod
    def load_whole(cls, path: Path) -> Workflow:
        """Load a template and look up its calendars' holidays too, which a DAG that is parsed need not wait for.

        :raises BadInput: as :meth:`load`, or no holidays are known for a calendar's country.
        """
        workflow = cls.load(path)
        for name, calendar in workflow.calendars.items():
            if calendar.holidays is not None and not known_holidays(calendar.holidays):
                text = path.read_text(encoding="utf-8")
                raise BadInput(
                    f"no holidays are known for {calendar.holidays!r}",
                    where=f"{path}:{line_of(text, ('calendars', name, 'holidays'))}",
                    remedy="Use a country's code (DE), or one with a part of it (DE-BY); or leave it out.",
                )
        return workflow

    def members(self, role: str) -> list[str]:
        """Return the usernames who hold a role, in the file's order."""
        return [person.username for person in self.people.values() if role in person.roles]

    def has_role(self, username: str, role: str) -> bool:
        """Return whether a person holds a role; unknown people hold none."""
        person = self.people.get(username)
        return person is not None and role in person.roles

    def seat_rule(self, role: str, purpose: str = "release") -> SeatRule:
        """Return the rule of a role's seat; one without a rule has a veto and the review's deadline."""
        for rule in self.seats_for(purpose):
            if rule.role == role:
                return rule
        return SeatRule(role=role, veto=True, due_hours=self.stages["review"].deadline_hours)

    def seats_for(self, purpose: str) -> list[SeatRule]:
        """Return the rules of the seats of a package. :param purpose: one of :class:`dam.catalog.models.Purpose`."""
        if purpose == "release":
            return self.seats
        named: list[SeatRule] = getattr(self.sign_offs, purpose)
        stage = self.stages[SIGNED_IN[purpose]]
        return named or [SeatRule(role=stage.owner, due_hours=stage.deadline_hours)]

    def review_stages(self, purpose: str = "release") -> list[int]:
        """Return the stages in which the seats of a package are asked, in order."""
        return sorted({rule.stage for rule in self.seats_for(purpose)})

    def calendar(self, name: str | None = None) -> Calendar:
        """Return a calendar by its name, or the first; a plain one where the file has none (any more)."""
        first = next(iter(self.calendars.values()), None) or Calendar(**PLAIN)
        return self.calendars.get(name or "", first)

    def due_at(self, due: dict[str, Any], start: datetime) -> datetime:
        """Return the deadline of a seat that opens at ``start``. :param due: as :attr:`SeatRule.due` gives it."""
        if "days" in due:
            return self.calendar(due.get("calendar")).add(start, due["days"])
        hours = due.get("hours") or self.stages["review"].deadline_hours
        return start + timedelta(hours=hours)


STAGES = ("plan", "create", "ingest", "review", "activate", "measure", "archive")
#: The stage that what is no release is signed in.
SIGNED_IN = {"brief": "plan", "metadata": "ingest"}


@lru_cache(maxsize=4)
def _load(path: Path, _mtime: int) -> Workflow:
    text = path.read_text(encoding="utf-8")
    try:
        raw = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(str(error.problem), where=f"{path}:{line}", remedy="Mend the YAML.") from error
    if isinstance(raw, dict) and isinstance(raw.get("people"), dict):
        for username, person in raw["people"].items():
            if isinstance(person, dict):
                person["username"] = username
    try:
        workflow = Workflow.model_validate(raw)
    except ValidationError as error:
        raise fault(path, text, error, Workflow) from error
    _check(workflow, path, text)
    return workflow


def _check(workflow: Workflow, path: Path, text: str) -> None:
    """Check what one field alone can't show: all stages there, every role held by somebody."""
    missing = [name for name in STAGES if name not in workflow.stages]
    if missing:
        raise BadInput(
            f"the stages {', '.join(missing)} are missing",
            where=f"{path}:{line_of(text, ('stages',))}",
            remedy=f"There must be: {', '.join(STAGES)}.",
        )
    for loc, problem, remedy in [*_unheld(workflow), *_unseatable(workflow)]:
        raise BadInput(problem, where=f"{path}:{line_of(text, loc)}", remedy=remedy)


#: A fault: where in the file, what, and what to do about it.
_Fault = tuple[tuple[Any, ...], str, str]


def _unheld(workflow: Workflow) -> Iterator[_Fault]:
    """Yield the roles that are asked for and that nobody holds."""
    held = {role for person in workflow.people.values() for role in person.roles}
    asked: list[tuple[tuple[Any, ...], str]] = [
        (("stages", name, "owner"), stage.owner) for name, stage in workflow.stages.items()
    ]
    asked += [((*loc, index, "role"), rule.role) for loc, rules in _rules(workflow) for index, rule in enumerate(rules)]
    asked += [(("policy", "see_place", index), role) for index, role in enumerate(workflow.policy.see_place)]
    if workflow.reminders.escalate is not None:
        asked.append((("reminders", "escalate", "to"), workflow.reminders.escalate.to))
    for name, stage in workflow.stages.items():
        for part, roles in stage.raci:
            asked += [(("stages", name, "raci", part, index), role) for index, role in enumerate(roles)]
    for loc, role in asked:
        if role not in held:
            remedy = f"Give the role to a person, or use one of: {', '.join(sorted(held))}."
            yield loc, f"nobody holds the role {role}", remedy


def _unseatable(workflow: Workflow) -> Iterator[_Fault]:
    """Yield the seats that no package could ever have signed, or that name what is not there."""
    for loc, rules in _rules(workflow):
        for at, problem, remedy in _unseatable_in(workflow, rules):
            yield (*loc, *at), problem, remedy


def _rules(workflow: Workflow) -> Iterator[tuple[tuple[str, ...], list[SeatRule]]]:
    """Yield the lists of seats, and where in the file they are."""
    yield ("seats",), workflow.seats
    for purpose in SIGNED_IN:
        yield ("sign_offs", purpose), getattr(workflow.sign_offs, purpose)


def _unseatable_in(workflow: Workflow, rules: list[SeatRule]) -> Iterator[_Fault]:
    roles: list[str] = []
    for index, rule in enumerate(rules):
        if rule.role in roles:
            remedy = "One seat may need several signatures: write signatures: 2 there."
            yield (index, "role"), f"the {rule.role} has a seat already", remedy
        roles.append(rule.role)
        if len(holders := workflow.members(rule.role)) < rule.signatures:
            yield (
                (index, "signatures"),
                f"it needs {rule.signatures} signatures, and only {', '.join(holders)} may sign",
                "Give the role to more people, or ask for fewer signatures.",
            )
        if rule.due_days is not None and not workflow.calendars:
            yield (index, "due_days"), "there is no calendar to count days in", "Write one under calendars."
        if rule.calendar is not None and rule.calendar not in workflow.calendars:
            known = ", ".join(workflow.calendars) or "none"
            yield (index, "calendar"), f"there is no calendar {rule.calendar}", f"There are: {known}."
