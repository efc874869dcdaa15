"""What the operators share: services, the run's name for the audit trail, and how errors end a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dam.errors import BadInput, NotFound, Refused
from dam_operators.services import get_services

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from dam.services import Services


def run_name(context: Context) -> str:
    """Return ``dag_id/run_id`` of the running task, as the audit trail names it."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


@contextmanager
def told_plainly() -> Iterator[None]:
    """Let a task fail at once, without retries, when a retry can't help: bad input, a rule's refusal."""
    try:
        yield
    except (BadInput, NotFound, Refused) as error:
        raise AirflowFailException(str(error)) from error


class DamOperator(BaseOperator):
    """An operator that calls one function of the library and returns its small JSON result."""

    @property
    def services(self) -> Services:
        """The process's services."""
        return get_services()

    def execute(self, context: Context) -> Any:
        """Run :meth:`work`; a refusal or bad input fails the task at once with its plain words."""
        with told_plainly():
            return self.work(context)

    def work(self, context: Context) -> Any:
        """Do the operator's work; implemented by each operator."""
        raise TypeError(f"{type(self).__name__} has no work() of its own")


class ClaimOperator(DamOperator):
    """Returns the run's key, and skips everything after it when another run has the key already.

    The first task of every stage: an event told twice makes a second run, which ends here.

    :param key: brief, batch or package id (templated). The default reads the run's partition key, or
        the param ``key`` of a run started by hand.
    :param take_over: ``True`` (or the text ``"True"``) claims the key from an earlier run (templated).
    :param drop: a folder below ``drops/`` in the inbox; a batch from elsewhere is refused.
    """

    template_fields: Sequence[str] = ("key", "take_over")

    def __init__(
        self,
        *,
        key: str = "{{ dag_run.partition_key or params.get('key') or '' }}",
        take_over: str | bool = "{{ params.get('take_over', False) }}",
        drop: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.take_over = take_over
        self.drop = drop

    def work(self, context: Context) -> str:
        """Claim the key for this run."""
        from dam.catalog.claims import check_drop, claim

        if not self.key:
            raise BadInput(
                "the run has no key",
                where=f"DAG {context['dag_run'].dag_id}",
                remedy="Start it with the param key set to the id of a brief, batch or package.",
            )
        if self.drop is not None:
            check_drop(self.services, batch_id=self.key, drop=self.drop)
        mine = run_name(context)
        owner = claim(
            self.services,
            stage=context["dag_run"].dag_id,
            key=self.key,
            run=mine,
            take_over=str(self.take_over) == "True",
        )
        if owner != mine:
            self.log.info("%s is being worked by %s; this run has nothing to do", self.key, owner)
            raise AirflowSkipException(f"{self.key} belongs to {owner}")
        return self.key


def _flat(keys: Any) -> Iterator[str]:
    """Yield the keys in a key, in a list of keys or in a list of lists; empty ones are none."""
    if isinstance(keys, str):
        if keys and keys != "None":
            yield keys
    else:
        for key in keys or ():
            yield from _flat(key)


class AnnounceOperator(DamOperator):
    """Tells the next stage: emits one event per key. Without a key it is skipped and nothing is told.

    :param event: one of :mod:`dam_operators.events`.
    :param keys: a key, or a list of keys, also of mapped tasks' lists (templated; empty ones are left out).
    """

    template_fields: Sequence[str] = ("keys",)

    def __init__(self, *, event: Asset, keys: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[event], **kwargs)
        self.event = event
        self.keys = keys

    def work(self, context: Context) -> list[str]:
        """Emit the events."""
        keys = list(dict.fromkeys(_flat(self.keys)))
        if not keys:
            raise AirflowSkipException("nothing to announce")
        context["outlet_events"][self.event].add_partitions(keys)
        return keys
