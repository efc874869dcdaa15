"""Migrations go up, down and up again, and make what the models say."""

from __future__ import annotations

import threading

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from dam.catalog import session as catalog
from dam.catalog.lifecycle import ALLOWED
from dam.catalog.models import Base


def tables(url):
    engine = catalog.make_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_down_leaves_nothing_and_up_makes_it_again(catalog_url):
    assert tables(catalog_url) == {*Base.metadata.tables, "alembic_version"}
    catalog.downgrade(catalog_url)
    assert tables(catalog_url) == {"alembic_version"}
    engine = catalog.make_engine(catalog_url)
    with engine.connect() as connection:
        ours = connection.scalar(text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'dam\\_%'"))
    engine.dispose()
    assert ours == 0
    catalog.upgrade(catalog_url)
    assert tables(catalog_url) == {*Base.metadata.tables, "alembic_version"}


def test_the_migrated_database_is_what_the_models_say(catalog_url):
    engine = catalog.make_engine(catalog_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_several_processes_may_migrate_at_once(catalog_url):
    catalog.downgrade(catalog_url)
    faults = []

    def up():
        try:
            catalog.upgrade(catalog_url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            faults.append(error)

    threads = [threading.Thread(target=up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert "versions" in tables(catalog_url)


def test_the_database_knows_the_same_lifecycle(services):
    with services.session() as session:
        rows = session.execute(text("SELECT from_state, to_state FROM lifecycle_transitions")).all()
    assert {tuple(row) for row in rows} == {(str(a), str(b)) for a, after in ALLOWED.items() for b in after}
