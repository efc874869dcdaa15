"""What every function of the library is given first: the catalogue, the stores and the data people edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session, sessionmaker

from dam.catalog.session import make_engine
from dam.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from dam.enrich.taggers import Tagger
    from dam.ingest.scanner import Scanner
    from dam.storage import Storage
    from dam.taxonomy import Taxonomy
    from dam.workflow import Workflow


def _aws(service: str) -> Any:
    """Return a client with the credentials of the environment."""
    import boto3
    from botocore.config import Config

    make: Any = boto3.client
    # whoever asks decides what is asked again: an answer that got lost may have been billed
    return make(service, config=Config(retries={"total_max_attempts": 1, "mode": "standard"}))


class Services:
    """One catalogue, one set of stores and one include folder. Cheap to make; parts open on first use.

    :param aws: returns a boto3 client for a service's name. Without it, credentials come from the usual AWS places.
    """

    def __init__(self, settings: Settings, *, aws: Callable[[str], Any] | None = None) -> None:
        self.settings = settings
        self.aws = aws or _aws

    @classmethod
    def from_env(cls) -> Services:
        """Make services from ``DAM_*`` environment variables."""
        return cls(Settings.from_env())

    @cached_property
    def engine(self) -> Engine:
        """The catalogue's engine (a small connection pool)."""
        return make_engine(self.settings.catalog_url)

    @cached_property
    def _sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: commits at the end, rolls back on any exception."""
        with self._sessions.begin() as session:
            yield session

    @cached_property
    def storage(self) -> Storage:
        """The seven stores."""
        from dam.storage import Storage

        return Storage(self.settings.storage_url, self.settings.storage_options)

    @cached_property
    def scanner(self) -> Scanner:
        """The malware scanner; one that scans nothing where none is configured."""
        from dam.ingest.scanner import Scanner

        return Scanner.from_settings(self.settings)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Vocabulary, metadata schema and naming convention of ``include/taxonomy``."""
        from dam.taxonomy import Taxonomy

        return Taxonomy.load(self.settings.include / "taxonomy")

    @cached_property
    def taggers(self) -> list[Tagger]:
        """The taggers that ``include/taxonomy/taggers.yaml`` switches on, in their order."""
        from dam.enrich.taggers import enabled

        return enabled(self)

    @cached_property
    def workflow(self) -> Workflow:
        """Stages, roles, seats, deadlines and policies of ``include/templates/workflow.yaml``."""
        from dam.workflow import Workflow

        return Workflow.load_whole(self.settings.include / "templates" / "workflow.yaml")
