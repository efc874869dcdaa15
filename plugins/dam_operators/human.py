"""Tasks that wait for a person: they cost no worker slot, no trigger and no polling while they wait.

Who may answer comes from ``workflow.yaml`` when the task runs. Every answer is checked by the library's
rules in ``record``; an answer that a rule refuses is asked again, so a wrong click loses nothing.
Nobody answering never approves: the deadline ends the task as ``expired``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import NEVER_EXPIRE, Param  # type: ignore[attr-defined]  # missing from its stub
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import (
    AirflowSkipException,
    DownstreamTasksSkipped,
    TaskAwaitingInput,
)

from dam.errors import BadInput, Refused
from dam.review import purposes
from dam_operators.activate import chunks
from dam_operators.base import run_name, told_plainly
from dam_operators.services import get_services
from dam_operators.stage import workflow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dam.services import Services

COMMENT = Param("", type=["string", "null"], title="Comment", description="Goes into the record.", format="multiline")
EXPIRED = "expired"
#: How a task that asks people is tried again, whatever its DAG's default arguments say. An answer that comes while
#: Airflow is still busy parking the task costs it a try or two; it must not be heard late for that, nor never. Of a
#: mapped task Airflow reads it from `partial`.
SOON: Mapping[str, Any] = {"retries": 8, "retry_delay": timedelta(seconds=1), "retry_exponential_backoff": 0}
#: What a task keeps, from one try to the next, once it has asked.
STANDS = "question"
#: State of a task that waits for an answer.
PARKED = "awaiting_input"


class PersonOperator(HITLOperator):
    """Asks the people who hold a role, and records the answer under the person's own name.

    Subclasses say whom (:meth:`people`), show what (:meth:`show`), and keep the answer (:meth:`record`).

    :param role: role in ``workflow.yaml`` whose holders may answer.
    :param subject: headline (templated).
    :param options: the possible answers.
    :param deadline_hours: hours to answer; the default is the stage's deadline in ``workflow.yaml``.
    """

    stage = "review"
    mail_template: str | None = None
    #: What the person fills in beside choosing an option.
    form: Mapping[str, Param] = {"comment": COMMENT}
    answered_at: datetime | None = None

    def __init__(
        self,
        *,
        role: str,
        subject: str,
        options: list[str],
        deadline_hours: float | None = None,
        **kwargs: Any,
    ) -> None:
        hours = deadline_hours or workflow().stages[self.stage].deadline_hours
        kwargs.setdefault("response_timeout", timedelta(hours=hours))
        # Airflow hands the DAG's own params to every task; they are no part of the question
        kwargs |= {"params": dict(self.form), **SOON}
        super().__init__(subject=subject, options=options, **kwargs)
        self.role = role

    @property
    def services(self) -> Services:
        """The process's services."""
        return get_services()

    def people(self) -> list[str]:
        """Return the usernames who may answer."""
        return workflow().members(self.role)

    def show(self) -> str:
        """Return the Markdown shown to the person."""
        return self.body or ""

    def record(self, context: Context, *, person: str, answer: str, values: dict[str, Any]) -> Any:
        """Keep the answer, given at ``self.answered_at``, and return the task's result.

        :raises Refused: a rule forbids this answer by this person; it is asked again.
        :raises BadInput: the answer can't be read; it is asked again.
        """
        raise TypeError(f"{type(self).__name__} has no record() of its own")

    def expire(self, context: Context) -> Any:
        """Note that nobody answered in time, and return the task's result."""
        return EXPIRED

    def ready(self, context: Context) -> None:
        """Prepare the question; may skip the task, or set ``response_timeout`` to what is left of the time."""

    def execute(self, context: Context) -> Any:
        """Ask, and free the worker slot; a question that stands since an earlier try is waited for as it is."""
        with told_plainly():
            self.ready(context)
            self.assigned_users = [{"id": name, "name": name} for name in self.people()]
            self.body = self.show()
        if self._stands(context):
            left = None if self.response_timeout is None else max(self.response_timeout, timedelta())
            raise TaskAwaitingInput(method_name="take_up", timeout=left)
        if self.response_timeout is not None and self.response_timeout <= timedelta():
            return self.expire(context)
        if not self.assigned_users:
            raise AirflowSkipException(f"nobody holds the role {self.role}")
        self._tell(context)
        try:
            return super().execute(context)
        except TaskAwaitingInput:
            context["task_state_store"].set(STANDS, True, retention=NEVER_EXPIRE)
            raise

    def _stands(self, context: Context) -> bool:
        """Return whether an earlier try has asked already, and waits for an answer or never heard the one it got.

        Somebody who answers while Airflow is still busy parking the task makes it try again. To ask again would wipe
        the answer out; to wait for the question that stands makes Airflow go on with it at once, and also with one
        that was given in time and is heard late.
        """
        return context["ti"].try_number > 1 and bool(context["task_state_store"].get(STANDS))

    def take_up(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on with a question of an earlier try: what was answered then, and heard, is asked again."""
        if event.get("responded_by_user") and self._was_heard(context, event):
            return self.ask_again(context)
        return self.execute_complete(context, event)

    def ask_again(self, context: Context) -> Any:
        """Ask anew: the answer that the question has was heard, and did not do."""
        context["task_state_store"].delete(STANDS)
        return self.execute(context)

    def _answer_key(self, context: Context, event: dict[str, Any]) -> str:
        ti = context["ti"]
        return f"{ti.run_id}/{ti.task_id}/{ti.map_index}/{event['responded_at'].isoformat()}"

    def _was_heard(self, context: Context, event: dict[str, Any]) -> bool:
        from dam.catalog.claims import owner

        stage = f"answer:{context['ti'].dag_id}"
        return owner(self.services, stage=stage, key=self._answer_key(context, event)) is not None

    def _hear(self, context: Context, event: dict[str, Any]) -> None:
        """Mark an answer as heard: only when it is recorded or refused, so that none is lost to a kill."""
        from dam.catalog.claims import claim

        stage = f"answer:{context['ti'].dag_id}"
        claim(self.services, stage=stage, key=self._answer_key(context, event), run=run_name(context))

    def _tell(self, context: Context) -> None:
        """Mail the people once, on the first try; a mail that fails must not keep the question back."""
        if not self.mail_template or context["ti"].try_number > 1:
            return
        from dam import mail

        known = workflow().people
        to = [known[user["id"]].email for user in self.assigned_users or [] if user["id"] in known]
        try:
            mail.send(
                self.services,
                to=to,
                template=self.mail_template,
                context={
                    "subject": self.subject,
                    "body": self.body,
                    "link": f"{self.services.settings.web_url}/dam/",
                    "due_hours": round((self.response_timeout or timedelta()).total_seconds() / 3600),
                },
            )
        except (mail.MailFailed, OSError) as error:
            self.log.warning("The mail to %s was not sent: %s", ", ".join(to), error)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer; ask again when a rule refuses it."""
        if "error" in event:
            if event.get("error_type") == "timeout":
                return self.expire(context)
            self.process_trigger_event_error(event)
        person = (event.get("responded_by_user") or {}).get("name")
        if not person:
            return self.expire(context)
        self.answered_at = event["responded_at"]
        try:
            result = self.record(
                context,
                person=person,
                answer=event["chosen_options"][0],
                values=event.get("params_input") or {},
            )
        except (Refused, BadInput) as refusal:
            self.log.warning("The answer of %s was refused: %s", person, refusal)
            self._hear(context, event)
            return self.ask_again(context)
        self._hear(context, event)
        return result


class SeatOperator(PersonOperator):
    """One seat of a package: approve, request changes or reject, under one's own name.

    Where the package holds versions whose metadata is to be completed, the answers are "Done", which is refused while
    something is still missing, and "Leave the rest out"; the question says what each version lacks.

    Only the seat's people and their deputies can answer, never who made or uploaded a version of the package. A seat
    that needs several signatures asks again at once after each, until it has them. One that is closed already, or
    that the package does not need, is skipped. Returns ``approve``, ``request_changes``, ``reject``, ``void``,
    ``closed`` or ``expired``.

    :param seat_id: the seat (templated; map over the seats of a package, as :class:`dam_operators.groups.ReviewRound`
        does).
    """

    template_fields: Sequence[str] = (*HITLOperator.template_fields, "seat_id")
    form = {  # noqa: RUF012
        "comment": COMMENT,
        "conditions": Param(
            "",
            type=["string", "null"],
            title="Conditions",
            description="What an approval is tied to; it counts, and the condition stays to be seen until it is met.",
            format="multiline",
        ),
        "versions": Param(
            "",
            type=["string", "null"],
            title="Single versions",
            description="Verdicts that differ from the package's, as JSON; the review room fills it.",
        ),
    }
    #: Where a seat stands while somebody may be asked. One that waits for an earlier stage refuses answers until then.
    ASKS = ("open", "waiting")

    def __init__(self, *, seat_id: str, **kwargs: Any) -> None:
        kwargs.setdefault("subject", "Review a package")
        super().__init__(role="seat", options=list(purposes.words("release").answers.values()), **kwargs)
        self.seat_id = seat_id

    def ready(self, context: Context) -> None:
        """Load the seat, tell it where Airflow waits, and skip one that asks nobody (any more)."""
        from dam.review import seats

        ti = context["ti"]
        self.seat = seats.attach(
            self.services,
            seat_id=self.seat_id,
            hitl={
                "dag_id": ti.dag_id,
                "run_id": ti.run_id,
                "task_id": ti.task_id,
                "map_index": ti.map_index if ti.map_index is not None else -1,
            },
        )
        if self.seat["status"] not in self.ASKS:
            self._let_go(context)
            told = f"the seat is {self.seat['status'].replace('_', ' ')}"
            raise AirflowSkipException(f"{told}: {self.seat['reason']}" if self.seat["reason"] else f"{told} already")
        self.subject = self.seat["subject"]
        self.options = list(purposes.words(self.seat["purpose"]).answers.values())
        if self.seat["purpose"] == "metadata":  # the contract says what is complete, version by version
            for name in ("conditions", "versions"):
                self.params.pop(name, None)
        # of the seat, not of this task: asking again after a refusal, a retry or a clear gives no new time
        self.response_timeout = datetime.fromisoformat(self.seat["due_at"]) - datetime.now(UTC)

    def people(self) -> list[str]:
        """Return who may still sign the seat, deputies among them."""
        return list(self.seat["may_sign"])

    def _tell(self, context: Context) -> None:
        """Mail the seat's people; the library tells each once, however often this asks."""
        from dam.review import reminders

        reminders.tell_opened(self.services, seat_id=self.seat_id, run=run_name(context))

    def show(self) -> str:
        """Return what the package holds, how many signatures are there, and the link to the review room."""
        lines = [self.seat["summary"], ""]
        if self.seat["needed"] > 1:
            lines += [f"Signed by {self.seat['signed']} of the {self.seat['needed']} who must.", ""]
        dam = f"{self.services.settings.web_url}/dam"
        links = [f"[Open the review room]({dam}/packages/{self.seat['package_id']})"]
        if self.seat["purpose"] == "metadata":
            links.append(f"[Fill in many at once]({dam}/librarian/{self.seat['batch_id']})")
        return "\n".join([*lines, " · ".join(links)])

    def record(self, context: Context, *, person: str, answer: str, values: dict[str, Any]) -> str:
        """Record the decision; a package that changed meanwhile is void, and its next round is frozen."""
        from dam.review import packages, seats

        verdict = purposes.VERDICTS[answer]
        try:
            seats.decide(
                self.services,
                seat_id=self.seat_id,
                person=person,
                verdict=verdict,
                comment=str(values.get("comment") or ""),
                conditions=str(values.get("conditions") or ""),
                versions=_single_versions(values.get("versions")),
                via="airflow",
                at=self.answered_at,
                run=run_name(context),
            )
        except seats.PackageVoid:
            return "void"
        except seats.PackageClosed:
            return "closed"
        packages.verdict(
            self.services,
            package_id=seats.package_of(self.services, seat_id=self.seat_id),
            run=run_name(context),
        )
        return verdict

    def expire(self, context: Context) -> str:
        """Close the seat unsigned: silence never approves."""
        from dam.review import seats

        seats.expire(self.services, seat_id=self.seat_id, run=run_name(context))
        return EXPIRED

    def execute(self, context: Context) -> Any:
        """Ask; look once more before waiting, for who signs in the room just then finds no task to tell."""
        from dam.review import seats

        try:
            return super().execute(context)
        except TaskAwaitingInput:
            if seats.status(self.services, seat_id=self.seat_id) in self.ASKS:
                raise
        return self.execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer; ask on while signatures lack, and nobody any more when it ended the review."""
        from dam.review import seats

        result = super().execute_complete(context, event)
        if result != EXPIRED and seats.status(self.services, seat_id=self.seat_id) in self.ASKS:
            return self.ask_again(context)
        context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=result)  # letting go returns by an exception
        self._let_go(context)
        return result

    def _let_go(self, context: Context) -> None:
        """Skip the other seats of this run that still wait although the package is closed.

        They are looked up by their places in the DAG, not in the run: one that took the package over asks for the
        same seats at the same places, and whichever of the two hears the last answer must come to its end.
        """
        from dam.review import seats

        ti = context["ti"]
        asked = seats.left_waiting(self.services, seat_id=self.seat_id)
        places = [(place["task_id"], place["map_index"]) for place in asked if place["dag_id"] == ti.dag_id]
        if not places:
            return
        tasks = sorted({task_id for task_id, _ in places})
        found = ti.get_task_states(dag_id=ti.dag_id, task_ids=tasks, run_ids=[ti.run_id]).get(ti.run_id, {})
        waiting = [place for place in places if found.get(_state_key(*place)) == PARKED]
        if waiting:
            raise DownstreamTasksSkipped(tasks=waiting)  # type: ignore[no-untyped-call]


def _state_key(task_id: str, map_index: int) -> str:
    """Return how Airflow names a task when it tells the states of a run's tasks."""
    return task_id if map_index < 0 else f"{task_id}_{map_index}"


def _single_versions(given: Any) -> dict[str, dict[str, str]]:
    """Return the verdicts on single versions that a person typed as JSON.

    :raises BadInput: it is no JSON, or not of the form ``{version id: {"verdict": …, "comment": …}}``.
    """
    try:
        found = json.loads(given.strip() or "{}") if isinstance(given, str) else given or {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"is no JSON: {error}", where="Single versions", remedy=_SINGLE) from error
    if not isinstance(found, dict):
        raise BadInput(f"{given!r} is no table of versions", where="Single versions", remedy=_SINGLE)
    for version_id, answer in found.items():
        fields = answer.items() if isinstance(answer, dict) else [("", None)]
        if not all(field in ("verdict", "comment") and isinstance(value, str) for field, value in fields):
            raise BadInput(f"{answer!r} is no verdict", where=f"version {version_id}", remedy=_SINGLE)
    return found


_SINGLE = 'Leave it empty, or write it like {"ver_…": {"verdict": "reject", "comment": "Too dark."}}.'


class ClearRisksOperator(PersonOperator):
    """The digital team clears publications that the rights allow but that carry a risk, or holds them back.

    Skipped when there is none. Returns chunks to map over, as the preflight does; none when held back.

    :param publication_ids: the risky publications (templated).
    """

    stage = "activate"
    mail_template = "risks_to_clear"
    template_fields: Sequence[str] = (*HITLOperator.template_fields, "publication_ids")
    PUBLISH, HOLD_BACK = "Publish", "Hold back"

    def __init__(self, *, publication_ids: Any, **kwargs: Any) -> None:
        kwargs.setdefault("role", "digital_team")
        kwargs.setdefault("subject", "Clear the risks of a publication")
        super().__init__(options=[self.PUBLISH, self.HOLD_BACK], **kwargs)
        self.publication_ids = publication_ids

    def _ids(self) -> list[str]:
        return list(self.publication_ids or [])

    def execute(self, context: Context) -> Any:
        """Ask; what was cleared before (by a run that was cleared or killed since) goes on unasked."""
        from dam.channels import publish

        if not publish.risky(self.services, publication_ids=self._ids()):
            cleared = publish.cleared(self.services, publication_ids=self._ids())
            if cleared:
                return chunks(cleared)
        return super().execute(context)

    def ready(self, context: Context) -> None:
        """Find what is still to be cleared; skip when nothing is."""
        from dam.channels import publish

        self.rows = publish.risky(self.services, publication_ids=self._ids())
        if not self.rows:
            raise AirflowSkipException("no publication carries a risk")
        assets = len({row["asset"] for row in self.rows})
        self.subject = f"Clear the risks of {len(self.rows)} publications of {assets} assets"

    def show(self) -> str:
        """Return each risk once, with the publications it concerns."""
        concerned: dict[str, list[str]] = {}
        for row in self.rows:
            for risk in row["risks"]:
                concerned.setdefault(risk, []).append(f"{row['asset']} v{row['number']} on {row['channel']}")
        return "\n\n".join(
            "\n".join([f"**{risk}**", "", *(f"- {name}" for name in names)]) for risk, names in concerned.items()
        )

    def record(self, context: Context, *, person: str, answer: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        """Clear or hold back."""
        from dam.channels import publish

        known: dict[str, Any] = {"publication_ids": self._ids(), "person": person, "run": run_name(context)}
        if answer == self.PUBLISH:
            publish.clear(self.services, **known)
            return chunks(publish.cleared(self.services, publication_ids=self._ids()))
        publish.hold_back(self.services, **known, reason=values.get("comment") or "")
        return []

    def expire(self, context: Context) -> list[dict[str, Any]]:
        """Hold it back: silence never publishes."""
        from dam.channels import publish

        publish.hold_back(
            self.services,
            publication_ids=self._ids(),
            person="airflow",
            reason="Nobody cleared it before the deadline.",
            run=run_name(context),
        )
        return []


class SignDestructionOperator(PersonOperator):
    """The DAM admin signs the destruction list that this run froze, by its hash, or keeps everything.

    The list is read from the catalogue, where the signature goes too; the result only tells who signed. Skipped
    when nothing is due, and for a rehearsal. Returns the signer, else ``None``.
    """

    stage = "archive"
    mail_template = "destruction_to_sign"
    SIGN, KEEP = "Destroy", "Keep"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("role", "dam_admin")
        kwargs.setdefault("subject", "Sign the destruction list")
        super().__init__(options=[self.SIGN, self.KEEP], defaults=None, **kwargs)

    def execute(self, context: Context) -> Any:
        """Ask; what was signed before (by a run that was cleared or killed since) is not asked again."""
        from dam.retention import destruction

        with told_plainly():
            self.listed = destruction.of_run(self.services, run=run_name(context))
        if signed_by := destruction.signer(self.services, list_id=self.listed["list_id"]):
            return signed_by
        return super().execute(context)

    def ready(self, context: Context) -> None:
        """Skip when nothing is due, or not yet."""
        if not self.listed["due"]:
            raise AirflowSkipException("nothing is due for destruction")
        if self.listed["rehearsal"]:
            count, today = len(self.listed["due"]), self.listed["today"]
            raise AirflowSkipException(f"a rehearsal: {count} versions will be due on {today}; nothing is signed")

    def show(self) -> str:
        """Return the list with the policy that makes each version due, what is held, and the hash."""
        lines = [f"- {row['name']} (`{row['version_id']}`): {row['policy']}" for row in self.listed["due"]]
        held = [f"- {row['name']}: {row['reason']}" for row in self.listed["held"]]
        return "\n".join(
            [f"List `{self.listed['sha256']}`", "", *lines, *(["", "**On hold, kept:**", *held] if held else [])]
        )

    def record(self, context: Context, *, person: str, answer: str, values: dict[str, Any]) -> str | None:
        """Write the signature to the catalogue, or note that everything is kept."""
        from dam.retention import destruction

        run = run_name(context)
        list_id = destruction.of_run(self.services, run=run)["list_id"]
        if answer == self.SIGN:
            return destruction.sign(self.services, list_id=list_id, person=person, run=run)
        destruction.keep(self.services, list_id=list_id, person=person, reason=values.get("comment") or "", run=run)
        return None

    def expire(self, context: Context) -> None:
        """Destroy nothing: silence never signs."""
