"""The workflow template: people, stages with their RACI, and the seats a package needs.

Loaded from ``include/templates/workflow.yaml``. A fault in it names the file, the line and the remedy.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dam.errors import BadInput
from dam.load import fault, line_of
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


class SeatRule(_Strict):
    """One signature every package needs."""

    role: Role
    veto: bool = True
    due_hours: float = Field(gt=0)


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
    """House rules: who never signs, what needs a second look, and which roles see where a picture was taken."""

    makers_never_sign: Literal[True] = True
    risks: Risks = Risks()
    see_place: list[str] = []


class Workflow(_Strict):
    """The whole template."""

    people: dict[str, Person]
    stages: dict[str, Stage]
    seats: list[SeatRule] = Field(min_length=1)
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

    def members(self, role: str) -> list[str]:
        """Return the usernames who hold a role, in the file's order."""
        return [person.username for person in self.people.values() if role in person.roles]

    def has_role(self, username: str, role: str) -> bool:
        """Return whether a person holds a role; unknown people hold none."""
        person = self.people.get(username)
        return person is not None and role in person.roles

    def seat_rule(self, role: str) -> SeatRule:
        """Return the rule of a role's seat; one without a rule has a veto and the review's deadline."""
        for rule in self.seats:
            if rule.role == role:
                return rule
        return SeatRule(role=role, veto=True, due_hours=self.stages["review"].deadline_hours)


STAGES = ("plan", "create", "ingest", "review", "activate", "measure", "archive")


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
    held = {role for person in workflow.people.values() for role in person.roles}
    asked: list[tuple[tuple[Any, ...], str]] = [
        (("stages", name, "owner"), stage.owner) for name, stage in workflow.stages.items()
    ]
    asked += [(("seats", index, "role"), rule.role) for index, rule in enumerate(workflow.seats)]
    asked += [(("policy", "see_place", index), role) for index, role in enumerate(workflow.policy.see_place)]
    if workflow.reminders.escalate is not None:
        asked.append((("reminders", "escalate", "to"), workflow.reminders.escalate.to))
    for name, stage in workflow.stages.items():
        for part, roles in stage.raci:
            asked += [(("stages", name, "raci", part, index), role) for index, role in enumerate(roles)]
    for loc, role in asked:
        if role not in held:
            raise BadInput(
                f"nobody holds the role {role}",
                where=f"{path}:{line_of(text, loc)}",
                remedy=f"Give the role to a person, or use one of: {', '.join(sorted(held))}.",
            )
