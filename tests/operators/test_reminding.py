"""The task that reminds people."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from catchers import mail_server
from dam import mail
from dam.catalog.models import PackageVersion, Reminder, Seat, utcnow
from dam.review import annotations as notes
from dam.review import packages
from dam.services import Services

pytestmark = pytest.mark.usefixtures("airflow_home")


@pytest.fixture
def package(services, tmp_path):
    import world

    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    with services.session() as session:
        for seat in session.scalars(select(Seat)):
            seat.due_at = utcnow() + timedelta(hours=3)
            seat.opens_at = utcnow() - timedelta(days=3)
    return package_id


def remind(services, monkeypatch):
    from dam_operators import base
    from dam_operators.reminders import RemindOperator

    monkeypatch.setattr(base, "get_services", lambda: services)
    context = {"dag_run": SimpleNamespace(dag_id="review_reminders", run_id="r1")}
    return RemindOperator(task_id="remind").execute(context)


def test_it_reminds_each_once_and_says_how_many(services, package, monkeypatch):
    with mail_server() as (inbox, url):
        told = Services(replace(services.settings, smtp_url=url))
        nothing = {"off": 0, "dropped": 0, "cancelled": 0, "failed": 0}
        assert remind(told, monkeypatch) == {"sent": 2, "mentioned": 0, **nothing}
        with services.session() as session:
            version_id = session.scalars(select(PackageVersion.version_id)).first()
        notes.add(services, package_id=package, version_id=version_id, person="bea", body="@lena look", kind="note")
        assert remind(told, monkeypatch) == {"sent": 0, "mentioned": 1, **nothing}
        assert remind(told, monkeypatch)["mentioned"] == 0
        told.engine.dispose()
    assert len(inbox.mails) == 3
    with services.session() as session:
        assert {row.run for row in session.scalars(select(Reminder))} == {"review_reminders/r1"}


def test_a_mail_server_that_is_down_fails_the_task_so_that_it_is_tried_again(services, package, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    down = Services(replace(services.settings, smtp_url="smtp://127.0.0.1:9"))
    with pytest.raises(mail.MailFailed) as failed:
        remind(down, monkeypatch)
    assert not isinstance(failed.value, AirflowFailException)  # which would forbid the retry
    down.engine.dispose()
