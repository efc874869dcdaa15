"""Archive: cold storage, licence expiry, destruction, fixity and the audit chain's anchor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dam_operators.base import DamOperator, run_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class ArchiveDueOperator(DamOperator):
    """Lists versions that are due for cold storage, in chunks to map over.

    :param chunk: most versions in a chunk.
    """

    def __init__(self, *, chunk: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chunk = chunk

    def work(self, context: Context) -> list[list[str]]:
        """List them."""
        from dam.retention import archive

        due = [row["version_id"] for row in archive.due(self.services)]
        return [due[start : start + self.chunk] for start in range(0, len(due), self.chunk)]


class ColdStorageOperator(DamOperator):
    """Moves versions to cold storage, reads them back, and files an archive confirmation for each.

    Fails at the end when one could not be moved; the others are done.

    :param version_ids: the versions (templated).
    """

    template_fields: Sequence[str] = ("version_ids",)

    def __init__(self, *, version_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_ids = version_ids

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Archive."""
        from dam.retention import archive

        return _without_failures(
            archive.archive(self.services, version_ids=list(self.version_ids), run=run_name(context)),
            "could not be archived",
        )


class FixityOperator(DamOperator):
    """Reads a sample of stored versions back and compares their SHA-256; fails when one differs.

    :param sample: how many versions to read.
    """

    def __init__(self, *, sample: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sample = sample

    def work(self, context: Context) -> dict[str, Any]:
        """Read the sample back."""
        from dam.retention import archive

        report = archive.fixity(self.services, sample=self.sample, run=run_name(context))
        if report["bad"]:
            raise AirflowException(f"{len(report['bad'])} versions do not match their SHA-256: {report['bad']}")
        return report


class AuditAnchorOperator(DamOperator):
    """Verifies the audit chain and files its signed head outside the database."""

    def work(self, context: Context) -> dict[str, Any]:
        """Verify, then anchor."""
        from dam import audit

        report = audit.verify(self.services)
        if not report.ok:
            raise AirflowException(f"The audit chain is broken at event {report.first_bad_seq}: {report.problem}")
        return audit.anchor(self.services, run=run_name(context))


class LicenceAlertOperator(DamOperator):
    """Mails the owners of what expires in 90, 60, 30, 14, 7 or 1 days; each mark once.

    :param today: the day to look from, ISO 8601 (templated). One that has not come is a rehearsal: the result
        says what would be mailed, and nothing is.
    """

    template_fields: Sequence[str] = ("today",)

    def __init__(self, *, today: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.today = today

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Send the alerts that are due."""
        from dam.retention import licences

        return licences.alert(self.services, today=_day(self.today), run=run_name(context))


class ExpiryTakedownOperator(DamOperator):
    """Withdraws every publication whose licence has ended, each with its proof.

    Fails at the end when an endpoint still answers; the others are withdrawn.

    :param today: the day to look from, ISO 8601 (templated). One that has not come is a rehearsal: the result
        says what would be withdrawn, and nothing is.
    """

    template_fields: Sequence[str] = ("today",)

    def __init__(self, *, today: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.today = today

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Withdraw what has expired."""
        from dam.retention import licences

        return _without_failures(
            licences.withdraw_expired(self.services, today=_day(self.today), run=run_name(context)),
            "could not be withdrawn",
        )


class DestructionListOperator(DamOperator):
    """Freezes the list of what retention policy makes due, minus holds, with its own SHA-256: one list a run.

    Returns the list's id and hash, how many versions are due and held, and where the list is filed.

    :param today: the day to look from, ISO 8601 (templated). One that has not come makes a rehearsal.
    """

    template_fields: Sequence[str] = ("today",)

    def __init__(self, *, today: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.today = today

    def work(self, context: Context) -> dict[str, Any]:
        """Freeze the list."""
        from dam.retention import destruction

        listed = destruction.due(self.services, today=_day(self.today), run=run_name(context))
        return listed | {"due": len(listed["due"]), "held": len(listed["held"])}


class DestroyOperator(DamOperator):
    """Destroys what this run's destruction list names, each version with its certificate. Skipped when unsigned.

    List and signature are read from the catalogue: no XCom and no task state can stand in for them.
    """

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Destroy and certify."""
        from dam.retention import destruction

        run = run_name(context)
        list_id = destruction.of_run(self.services, run=run)["list_id"]
        if destruction.signer(self.services, list_id=list_id) is None:
            raise AirflowSkipException("the list was not signed")
        return destruction.destroy(self.services, list_id=list_id, run=run)


def _day(text: str) -> date:
    return date.fromisoformat(str(text)[:10])


def _without_failures(rows: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    failed = [row for row in rows if row.get("error")]
    if failed:
        raise AirflowException(f"{len(failed)} {what}: {failed}")
    return rows
