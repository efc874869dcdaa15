"""Engines and migrations of the catalogue."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine


def make_engine(url: str) -> Engine:
    """Return an engine with a small pool, for a ``postgresql+psycopg://`` URL."""
    return create_engine(url, pool_size=4, max_overflow=4, pool_pre_ping=True)


def upgrade(url: str) -> None:
    """Bring the database to the newest migration."""
    from dam.catalog.models import Base

    engine = make_engine(url)
    Base.metadata.create_all(engine)
    engine.dispose()
