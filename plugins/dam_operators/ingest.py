"""Ingest: register drops, plan chunks, take files through the gate, hold versions to their contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dam.errors import DamError
from dam_operators.base import DamOperator, run_name

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegisterDropsOperator(DamOperator):
    """Registers every complete drop of the inbox as a batch. One that can't be registered stops no other.

    Names the batches as well that an earlier run registered but that no workflow has taken up since, and those of
    which something was released from quarantine after they were checked.

    Returns ``{drop name: [batch id]}``: the name is the folder below ``drops/`` when ``workflow.yaml``
    lists it under ``drops``, else ``default``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def work(self, context: Context) -> dict[str, list[str]]:
        """Register; a drop that is registered already keeps its batch, and files that came late get their own."""
        from dam.ingest import batches, drops
        from dam_operators.stage import workflow

        by_name: dict[str, list[str]] = {name: [] for name in ("default", *workflow().drops)}
        for location in drops.discover(self.services):
            try:
                batch_id = batches.register(
                    self.services, location=location, source="inbox", sent_by="airflow", run=run_name(context)
                )
            except DamError as error:  # it is looked for again, so nothing is lost
                self.log.warning("%s was not registered: %s", location, error)
                continue
            name = location.split("/")[1] if location.startswith(drops.DROPS) else "default"
            told = by_name[name if name in workflow().drops else "default"]
            if batch_id not in told:
                told.append(batch_id)
        return by_name


class BatchOperator(DamOperator):
    """Base of what does one thing to one batch. :param batch_id: the batch (templated)."""

    template_fields: Sequence[str] = ("batch_id",)

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id


class PlanBatchOperator(BatchOperator):
    """Lists a batch's files and cuts them into chunks by bytes. Returns lists of file ids to map over.

    :param batch_id: the batch (templated).
    :param max_bytes: most bytes in a chunk; the default is the library's (``dam.ingest.batches.MAX_BYTES``).
    """

    def __init__(self, *, max_bytes: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_bytes = max_bytes

    def work(self, context: Context) -> list[list[str]]:
        """Plan; only files that are still pending are in a chunk."""
        from dam.ingest import batches

        return batches.plan_chunks(self.services, batch_id=self.batch_id, max_bytes=self.max_bytes)


class IngestChunkOperator(DamOperator):
    """Takes a chunk's files through the gate, then tags them and notes their rights.

    Checksum, format by content, full decode, fingerprints, duplicates, embedded metadata, vault. A file
    that fails is set aside with its reason; its siblings go on. Returns counts by outcome.

    :param batch_id: the batch (templated). :param file_ids: the chunk (map over the plan's chunks).
    """

    template_fields: Sequence[str] = ("batch_id", "file_ids")

    def __init__(self, *, batch_id: str, file_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.file_ids = file_ids

    def work(self, context: Context) -> dict[str, int]:
        """Ingest and enrich the chunk."""
        from dam.ingest import gate

        return gate.ingest_chunk(
            self.services, batch_id=self.batch_id, file_ids=list(self.file_ids), run=run_name(context)
        )


class PlanTagsOperator(BatchOperator):
    """Lists a batch's versions that slow or paid taggers are to look at, cut into chunks to map over.

    Where ``include/taxonomy/taggers.yaml`` switches none on, there is no chunk, and tagging ends here.

    :param batch_id: the batch (templated).
    """

    def work(self, context: Context) -> list[list[str]]:
        """Plan; a tagger that learns from the library does so here, at most daily."""
        from dam.enrich import tags

        return tags.plan_later(self.services, batch_id=self.batch_id)


class TagOperator(DamOperator):
    """Asks slow and paid taggers about versions, within their budgets; nobody looks twice.

    A tagger that fails, or whose budget is used up, is noted and holds nothing up. Returns counts by tagger.

    :param version_ids: the versions (templated).
    """

    template_fields: Sequence[str] = ("version_ids",)

    def __init__(self, *, version_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_ids = version_ids

    def work(self, context: Context) -> dict[str, Any]:
        """Tag."""
        from dam.enrich import tags

        told = tags.tag_later(self.services, version_ids=list(self.version_ids or []), run=run_name(context))
        if not told:
            raise AirflowSkipException("no slow tagger is switched on, or none can say anything here")
        return told


class MetadataContractOperator(BatchOperator):
    """Holds a batch's versions to their metadata contract (Great Expectations), once for the batch.

    A run that takes a batch up again, because something was released from quarantine later, checks that alone.

    Returns ``{"complete": [version id], "incomplete": {version id: [fault]}}``.

    :param batch_id: the batch (templated).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=True, **kwargs)

    def work(self, context: Context) -> dict[str, Any]:
        """Check the contract."""
        from dam.enrich import contracts

        report = contracts.hand_on(self.services, batch_id=self.batch_id, run=run_name(context))
        return {
            "complete": report.complete,
            "incomplete": {
                version: [fault.as_dict() for fault in faults] for version, faults in report.incomplete.items()
            },
        }


class EmptyInboxOperator(BatchOperator):
    """Lets a batch's files leave the inbox once their copies were read back, while its metadata is checked.

    Closing the batch does the same for what is left by then, so nothing depends on this but time.

    :param batch_id: the batch (templated).
    """

    def work(self, context: Context) -> int:
        """Read the copies back and empty the inbox."""
        from dam.ingest import batches

        return batches.empty_inbox(self.services, batch_id=self.batch_id)


class CloseBatchOperator(BatchOperator):
    """Closes a batch and returns counts of its files by outcome.

    :param batch_id: the batch (templated).
    """

    def work(self, context: Context) -> dict[str, int]:
        """Close the batch."""
        from dam.ingest import batches

        return dict(batches.close(self.services, batch_id=self.batch_id, run=run_name(context)))


class RefusedDeliverablesOperator(BatchOperator):
    """Says whether the gate refused files that answer creators' tasks. Returns the batch's id when it did.

    Announce it as a change request: the tasks are opened again, with the reasons. Skipped when nothing was refused.

    :param batch_id: the batch (templated).
    """

    def work(self, context: Context) -> str:
        """Look."""
        from dam.create import deliverables

        if not deliverables.refused(self.services, batch_id=self.batch_id):
            raise AirflowSkipException("every deliverable was taken")
        return self.batch_id


class ChecksumOperator(DamOperator):
    """Reads versions' bytes back from their store and compares them with their SHA-256.

    Fails with every version that does not match; nothing is changed.

    :param version_ids: the versions (templated).
    """

    template_fields: Sequence[str] = ("version_ids",)

    def __init__(self, *, version_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version_ids = version_ids

    def work(self, context: Context) -> dict[str, Any]:
        """Compare."""
        from dam.retention import archive

        if not self.version_ids:
            raise AirflowSkipException("no versions to check")
        report = archive.verify_bytes(self.services, version_ids=list(self.version_ids), run=run_name(context))
        if report["bad"]:
            raise AirflowFailException(f"{len(report['bad'])} versions do not match their SHA-256: {report['bad']}")
        return report
