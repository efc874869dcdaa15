"""Engines and migrations of the catalogue."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, create_engine, text

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_316_420_002  # pg_advisory_lock: one migration at a time


def make_engine(url: str) -> Engine:
    """Return an engine with a small pool, for a ``postgresql+psycopg://`` URL."""
    return create_engine(url, pool_size=4, max_overflow=4, pool_pre_ping=True)


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to a migration, the newest by default.

    Safe to run again, and by several processes at once: they take turns.
    """
    _migrate(url, revision, up=True)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the database back to a migration; ``base`` leaves nothing of ours."""
    _migrate(url, revision, up=False)


def _migrate(url: str, revision: str, *, up: bool) -> None:
    from alembic import command  # a third of a second that no DAG file should cost
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(config, revision)
    finally:
        engine.dispose()
