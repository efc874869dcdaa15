"""Alembic's environment: runs the migrations on the connection that :func:`dam.catalog.session.upgrade` gives."""

from __future__ import annotations

from alembic import context

from dam.catalog.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
