"""Review: freeze a package, open its seats, take the verdict. A seat is ``human.SeatOperator``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException

from dam_operators.base import DamOperator, run_name
from dam_operators.services import get_services
from dam_operators.triggers import VerdictTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class FreezePackageOperator(DamOperator):
    """Freezes versions as a package: a manifest with its hash, and the seats that must sign it.

    Returns the package's id; skipped without versions. Where their metadata is to be filled in, they stay as they
    are, and whoever signs says that it is done. A version whose asset is in an open round takes the older
    one's place there; the ids of those packages' next rounds are pushed as ``displaced``, to be announced for review.

    :param batch_id: the batch the versions came in (templated).
    :param version_ids: the versions (templated).
    :param seats: roles of the seats; the default is the workflow's seats.
    :param channels: channels to publish to, also in later rounds; the default is what the brief names.
    :param purpose: ``release``, or ``metadata``: what they lack is to be filled in.
    """

    template_fields: Sequence[str] = ("batch_id", "version_ids")

    def __init__(
        self,
        *,
        batch_id: str,
        version_ids: Any,
        seats: list[str] | None = None,
        channels: list[str] | None = None,
        purpose: Literal["release", "metadata"] = "release",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.version_ids = version_ids
        self.seats = seats
        self.channels = channels
        self.purpose = purpose

    def work(self, context: Context) -> str:
        """Freeze; the same versions freeze the same package."""
        from dam.review import packages

        if not self.version_ids:
            raise AirflowSkipException(f"no version is {'incomplete' if self.purpose == 'metadata' else 'complete'}")
        package_id = packages.freeze(
            self.services,
            batch_id=self.batch_id,
            version_ids=list(self.version_ids),
            seats=self.seats,
            channels=self.channels,
            purpose=self.purpose,
            run=run_name(context),
        )
        displaced = packages.displaced(self.services, package_id=package_id)
        context["ti"].xcom_push(key="displaced", value=displaced)
        return package_id


class ProofsOperator(DamOperator):
    """Makes the previews and thumbnails that reviewers look at. Returns the ids of the package's seats.

    :param package_id: the package (templated).
    :param upto: seats up to this stage; all when left out.
    """

    template_fields: Sequence[str] = ("package_id",)

    def __init__(self, *, package_id: str, upto: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package_id = package_id
        self.upto = upto

    def work(self, context: Context) -> list[str]:
        """Render the proofs, then name the seats."""
        from dam.catalog.claims import claim
        from dam.renditions import render
        from dam.review import packages

        # a workflow of one's own has claimed its batch only: the room must know that a run is on this package
        claim(self.services, stage=packages.STAGE, key=self.package_id, run=run_name(context))
        render.proofs(
            self.services,
            version_ids=packages.versions(self.services, package_id=self.package_id),
            run=run_name(context),
        )
        return packages.stage_seats(self.services, package_id=self.package_id, upto=self.upto)


class StageOperator(DamOperator):
    """Opens a later stage of a package's review, once the seats before it have closed. Returns its seats' ids.

    Skipped when the review ended before, or the package has no seat in the stage.

    :param package_id: the package (templated).
    :param after: stages after this one. :param upto: and up to this one; all that follow when left out.
    """

    template_fields: Sequence[str] = ("package_id",)

    def __init__(self, *, package_id: str, after: int, upto: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package_id = package_id
        self.after = after
        self.upto = upto

    def work(self, context: Context) -> list[str]:
        """Let the signatures so far speak, then name the seats."""
        from dam.review import packages

        status = packages.verdict(self.services, package_id=self.package_id, run=run_name(context))["status"]
        if status:
            raise AirflowSkipException(f"the review is over: {status.replace('_', ' ')}")
        found = packages.stage_seats(self.services, package_id=self.package_id, after=self.after, upto=self.upto)
        if not found:
            raise AirflowSkipException("the package has no seat in this stage")
        return found


class VerdictOperator(DamOperator):
    """Draws a package's verdict from its seats' signatures and gives each version its state.

    Returns the version ids by verdict (``approved``, ``changes_requested``, ``rejected``), the ``status``, and the
    keys to announce: ``approved_package``, ``changes_package`` (this package, or empty), ``next_package`` (the next
    round of a package that became void, or empty), ``freed`` (approved packages that waited for this one) and
    ``signed_brief``. A package that was for a brief releases nothing: it has that one alone, once it is signed. What
    is approved of a package that waits for changes to the rest (``policy.rest``) is not announced before those are
    approved as well; ``waits_for`` names them. Of a package whose metadata was to be completed nothing is approved:
    what is complete is frozen for its review, and ``next_package`` lists the key of that as well.

    :param package_id: the package (templated).
    """

    template_fields: Sequence[str] = ("package_id",)

    def __init__(self, *, package_id: str, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)
        self.package_id = package_id

    def work(self, context: Context) -> dict[str, Any]:
        """Conclude the review."""
        from dam.review import packages

        verdict = packages.verdict(self.services, package_id=self.package_id, run=run_name(context))
        if verdict["purpose"] == "metadata":
            return self._completed(context, verdict)
        released = self.package_id if verdict["purpose"] == "release" else ""
        return verdict | {
            "approved_package": released if verdict["approved"] and not verdict["waits_for"] else "",
            "changes_package": released if verdict["changes_requested"] else "",
            "signed_brief": (verdict["brief_id"] or "") if verdict["approved"] else "",
            "next_package": verdict["next_package_id"] or "",
        }

    def _completed(self, context: Context, verdict: dict[str, Any]) -> dict[str, Any]:
        """Send what was completed to its review: that it is complete releases nothing."""
        from dam.review import completion

        release = completion.release(self.services, package_id=self.package_id, run=run_name(context))
        following = [key for key in (verdict["next_package_id"], release) if key]
        return verdict | {"approved_package": "", "changes_package": "", "next_package": following}


class CompletedOperator(VerdictOperator):
    """Says which of a batch's versions were completed, once the seat that was asked for them has closed.

    Returns them as ``completed``, for what comes after it in the same run to freeze, and ``next_package``, the key of
    the next round of a package that became void, to be announced. Nobody having signed in time, what is complete by
    then goes on and the rest stays where it is.

    :param package_id: the package (templated).
    """

    def _completed(self, context: Context, verdict: dict[str, Any]) -> dict[str, Any]:
        from dam.review import completion

        done = completion.completed(self.services, package_id=self.package_id, run=run_name(context))
        return verdict | {"completed": done, "next_package": verdict["next_package_id"] or ""}


class ApprovalSensor(BaseSensorOperator):
    """Waits for a package's verdict, also when it is given outside Airflow, and returns its status.

    Waits in the triggerer, so it costs no worker. For a workflow whose seats another one asks for (or nobody: they
    are signed in the room, on the command line). To go on from thousands of reviews start a DAG by the event
    ``events.PACKAGE_APPROVED`` instead, which costs nothing while they wait.

    :param package_id: the package (templated).
    """

    template_fields: Sequence[str] = ("package_id",)

    def __init__(self, *, package_id: str, **kwargs: Any) -> None:
        kwargs.setdefault("poke_interval", 5)
        kwargs.setdefault("timeout", timedelta(days=30).total_seconds())
        super().__init__(**kwargs)
        self.package_id = package_id

    def execute(self, context: Context) -> str:
        """Return at once when there is a verdict, else wait in the triggerer."""
        from dam.review import packages

        verdict = packages.verdict(get_services(), package_id=self.package_id, run=run_name(context))
        if not verdict["status"]:
            self.defer(
                trigger=VerdictTrigger(package_id=self.package_id, poll_seconds=float(self.poke_interval)),
                method_name="execute_complete",
                timeout=timedelta(seconds=float(self.timeout)),
            )
        return str(verdict["status"])

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Return the status."""
        return str(event["status"])
