"""Activate: ask the rights policy, render, publish and prove it, withdraw and prove that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dam.errors import BadInput, DamError, NotFound, Refused
from dam_operators.base import DamOperator, run_name, told_plainly

if TYPE_CHECKING:
    from airflow.sdk import Context


#: Versions in a chunk: work enough for a task's start to cost little, spread over some tasks where there are few.
CHUNK, SPREAD = 25, 4
#: Airflow maps no more than 1,024 tasks (``core.max_map_length``).
MOST_CHUNKS = 500
#: Failures that a retry would not change.
FINAL = (BadInput, NotFound, Refused)


class RightsPreflightOperator(DamOperator):
    """Asks the rights policy for every approved version and channel of a package, and the ``activate`` contracts.

    Returns what may go out in chunks to map over: ``{"version_ids": […], "publication_ids": […]}``. Further
    XComs: ``risky`` (the ids of publications that the digital team must clear first), ``refused`` (each refusal
    with its explanation) and ``next_package`` (the next round, when the approval turned out to be void; then
    nothing may go out).

    Skipped without a package: nothing was approved.

    :param package_id: the package (templated).
    :param channels: channels to publish to; the default is what the package was frozen for, or the brief names.
    """

    template_fields: Sequence[str] = ("package_id", "channels")

    def __init__(self, *, package_id: str, channels: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.package_id = package_id
        self.channels = channels

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Plan the publications."""
        from dam.channels import publish

        if not self.package_id or self.package_id == "None":
            raise AirflowSkipException("nothing was approved")
        plan = publish.plan(self.services, package_id=self.package_id, channels=self.channels, run=run_name(context))
        for refusal in plan["refused"]:
            self.log.warning("Refused: %s", refusal["explanation"])
        context["ti"].xcom_push(key="refused", value=plan["refused"])
        context["ti"].xcom_push(key="next_package", value=plan["next_package_id"] or "")
        risky = [row["publication_id"] for row in plan["publications"] if row["risks"]]
        context["ti"].xcom_push(key="risky", value=risky)
        return chunks(row for row in plan["publications"] if not row["risks"])


def chunks(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gather publications as chunks of whole versions to map over: ``{"version_ids": […], "publication_ids": […]}``.

    Never more chunks than :data:`MOST_CHUNKS`, however many versions there are.
    """
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["version_id"], []).append(row["publication_id"])
    versions = sorted(found)
    size = max(math.ceil(len(versions) / MOST_CHUNKS), min(math.ceil(len(versions) / SPREAD), CHUNK))
    return [
        {"version_ids": some, "publication_ids": [publication for version in some for publication in found[version]]}
        for some in (versions[start : start + size] for start in range(0, len(versions), size or 1))
    ]


class RenditionOperator(DamOperator):
    """Makes renditions of versions by recipe; one that exists already is left as it is.

    Returns the renditions' ids.

    :param version_ids: the versions (templated).
    :param recipes: names of recipes in ``include/templates/recipes.yaml``; the default is all.
    """

    template_fields: Sequence[str] = ("version_ids", "recipes")

    def __init__(self, *, version_ids: Any, recipes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_ids = version_ids
        self.recipes = recipes

    def work(self, context: Context) -> list[str]:
        """Render."""
        from dam.renditions import render

        ids = [self.version_ids] if isinstance(self.version_ids, str) else list(self.version_ids)
        made = render.render(self.services, version_ids=ids, recipes=self.recipes, run=run_name(context))
        return [row["rendition_id"] for row in made]


class PublishOperator(DamOperator):
    """Publishes publications at their channels and probes every live URL.

    One that fails doesn't keep the others back: each is tried, and the task fails at the end, without
    retries when every failure is a refusal. Returns one result a publication. An embargo is waited for in the
    triggerer. Run again, it publishes nothing twice. A further XCom, ``next_packages``, names the next rounds
    of approvals that turned out to be void, whose reviews are to be started.

    :param publication_ids: the publications (templated; map over the preflight's rows).
    """

    template_fields: Sequence[str] = ("publication_ids",)

    def __init__(self, *, publication_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.publication_ids = publication_ids

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Publish what may start; wait for the end of the next embargo, if there is one."""
        results, failures = self._publish(run_name(context))
        void = sorted({row["next_package_id"] for row in results if row["status"] == "void"})
        context["ti"].xcom_push(key="next_packages", value=void)
        starts = [datetime.fromisoformat(row["starts_at"]) for row in results if row["status"] == "scheduled"]
        final = all(isinstance(error, FINAL) for error in failures)
        retried = failures and not final and context["ti"].try_number <= context["ti"].max_tries
        if starts and not retried:  # a failure that stays is told when the last embargo is over
            self.defer(trigger=DateTimeTrigger(moment=min(starts)), method_name="execute_complete")
        if failures:
            told = f"{len(failures)} of {len(self.publication_ids)} publications failed: " + " | ".join(
                map(str, failures)
            )
            raise AirflowFailException(told) if final else AirflowException(told)
        return results

    def _publish(self, run: str) -> tuple[list[dict[str, Any]], list[Exception]]:
        """Try every publication; return the results, and the failures of the others."""
        from dam.channels import publish

        publish.revalidate(self.services, publication_ids=list(self.publication_ids), run=run)
        results: list[dict[str, Any]] = []
        failures: list[Exception] = []
        for publication_id in self.publication_ids:
            try:
                results.append(publish.publish(self.services, publication_id=publication_id, run=run, whole=False))
            except (DamError, OSError) as error:
                self.log.error("%s: %s", publication_id, error)
                failures.append(error)
        return results, failures

    def execute_complete(self, context: Context, event: Any) -> list[dict[str, Any]]:
        """Publish, now that the embargo is over."""
        with told_plainly():
            return self.work(context)


class WithdrawOperator(DamOperator):
    """Withdraws one publication and proves by probing that every endpoint is dead. Returns the receipt.

    :param publication_id: the publication (templated).
    :param reason: why, for the receipt and the audit trail (templated).
    """

    template_fields: Sequence[str] = ("publication_id", "reason")

    def __init__(self, *, publication_id: str, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.publication_id = publication_id
        self.reason = reason

    def work(self, context: Context) -> dict[str, Any]:
        """Withdraw and prove it."""
        from dam.channels import publish

        return publish.withdraw(
            self.services,
            publication_id=self.publication_id,
            actor="airflow",
            reason=self.reason,
            run=run_name(context),
        )
