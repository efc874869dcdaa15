"""Licence expiry: each mark is mailed once, what has ended is withdrawn and proved, one failure stops nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from dam import mail
from dam.catalog.models import Campaign, Grant, Publication, RightsAlert, utcnow
from dam.errors import DamError
from dam.retention import licences
from dam.settings import PROJECT, Settings
from runtime.stack import Stack

TODAY = utcnow().date()


def no_wait(seconds: float) -> None:
    """Wait for nothing."""


@pytest.fixture
def sent(monkeypatch) -> list[dict[str, Any]]:
    """The mails that went out; they are rendered for real."""
    mails: list[dict[str, Any]] = []

    def hand_over(url: str, message: Any) -> None:
        mails.append({"to": message["To"], "subject": message["Subject"], "text": message.as_string()})

    monkeypatch.setattr(mail, "_hand_over", hand_over)
    return mails


@pytest.fixture
def posted(library, sent):
    """The library with a mail server."""
    object.__setattr__(library.services.settings, "smtp_url", "smtp://mail.example")
    return library


def marks(library, today=TODAY) -> list[int]:
    return [row["mark"] for row in licences.alert(library.services, today=today)]


def sweep(library, today=TODAY) -> list[dict[str, Any]]:
    return licences.withdraw_expired(library.services, today=today, wait=no_wait, run="sweep/1")


def grant(library, grant_id: str) -> Grant:
    with library.services.session() as session:
        return session.get_one(Grant, grant_id)


def publication(library, publication_id: str) -> Publication:
    with library.services.session() as session:
        return session.get_one(Publication, publication_id)


# ---------------------------------------------------------------------------------------------- alerts


def test_each_mark_once(posted, sent):
    version_id = posted.version("live")
    posted.publication(version_id)
    ends_on = TODAY + timedelta(100)
    posted.grant(version_id, ends_on=ends_on, reference="ACME-14")
    told = {}
    for days_left in (91, 90, 90, 89, 60, 59, 30, 30, 15, 14, 13, 7, 2, 1, 1, 0, -1):
        for mark in marks(posted, ends_on - timedelta(days_left)):
            told.setdefault(days_left, []).append(mark)
    assert told == {90: [90], 60: [60], 30: [30], 14: [14], 7: [7], 1: [1]}
    assert len(sent) == 6
    assert set(sent[0]["to"].split(", ")) == {"maya@acme.example", "dario@acme.example", "diego@acme.example"}
    assert "ACME-14 for HERO_ACME ends in 90 days" in sent[0]["subject"]
    assert posted.origin.url in sent[0]["text"]


def test_missed_marks_are_caught_up_by_the_smallest(posted, sent):
    posted.grant(posted.version("live"), ends_on=TODAY + timedelta(6))
    assert marks(posted) == [7]
    with posted.services.session() as session:
        assert sorted(session.scalars(select(RightsAlert.days))) == [7, 14, 30, 60, 90]
    assert marks(posted, TODAY + timedelta(5)) == [1]
    assert len(sent) == 2


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-2, 95), max_size=8, unique=True))
def test_however_irregular_the_sweep_each_due_mark_is_told_at_most_once(posted, sent, lefts):
    sent.clear()
    ends_on = TODAY + timedelta(500 + next(posted.counter))
    posted.grant(posted.version("live"), ends_on=ends_on)
    told = [mark for left in sorted(lefts, reverse=True) for mark in marks(posted, ends_on - timedelta(left))]
    looked = [left for left in lefts if left >= 0]
    assert told == sorted(set(told), reverse=True)
    assert len(sent) == len(told)
    smallest = [min(mark for mark in licences.MARKS if left <= mark) for left in looked if left <= 90]
    assert set(told) == set(smallest)
    with posted.services.session() as session:
        session.execute(update(Grant).values(closed_at=utcnow()))


def test_a_renewed_licence_starts_anew(posted, sent):
    grant_id = posted.grant(posted.version("live"), ends_on=TODAY + timedelta(7))
    assert marks(posted) == [7]
    with posted.services.session() as session:
        session.get_one(Grant, grant_id).ends_on = TODAY + timedelta(60)
    assert marks(posted) == [60]
    assert marks(posted) == []


def test_what_is_archived_or_has_ended_or_never_ends_is_left_alone(posted, sent):
    posted.grant(posted.version("archived", name="A"), ends_on=TODAY + timedelta(5))
    posted.grant(posted.version("live", name="B"), ends_on=TODAY - timedelta(1))
    posted.grant(posted.version("live", name="C"), ends_on=None)
    assert marks(posted) == []


def test_an_asset_without_campaign_alerts_the_roles(posted, sent):
    posted.grant(posted.version("live", campaign=None), ends_on=TODAY)
    [row] = licences.alert(posted.services, today=TODAY)
    assert (row["to"], row["days"], row["mark"]) == (["diego", "maya"], 0, 1)


def test_a_mail_that_fails_is_sent_next_time_and_the_others_go_out(posted, sent, monkeypatch):
    first = posted.grant(posted.version("live", name="A"), ends_on=TODAY + timedelta(1))
    posted.grant(posted.version("live", name="B"), ends_on=TODAY + timedelta(2))
    real = mail._hand_over

    def fails_for_a(url: str, message: Any) -> None:
        if "for A " in message["Subject"]:
            raise mail.MailFailed("the server said no")
        real(url, message)

    monkeypatch.setattr(mail, "_hand_over", fails_for_a)
    with pytest.raises(mail.MailFailed, match="1 of 2 licence alerts"):
        licences.alert(posted.services, today=TODAY)
    assert len(sent) == 1
    monkeypatch.setattr(mail, "_hand_over", real)
    [row] = licences.alert(posted.services, today=TODAY)
    assert (row["grant_id"], len(sent)) == (first, 2)


def test_without_a_mail_server_it_is_noted(library):
    library.grant(library.version("live"), ends_on=TODAY + timedelta(30))
    [row] = licences.alert(library.services, today=TODAY)
    assert row["mailed"] is False
    assert library.actions(library.asset(library.version("live"))) == ["rights.alerted"]


# ------------------------------------------------------------------------------------------- takedowns


def test_the_last_day_is_a_day_of_use(library):
    version_id = library.version("live")
    publication_id = library.publication(version_id)
    library.grant(version_id, ends_on=TODAY)
    assert licences.expired(library.services, today=TODAY) == []
    assert licences.expired(library.services, today=TODAY + timedelta(1)) == [publication_id]


def test_expiry_withdraws_proves_tells_and_closes(posted, sent):
    version_id = posted.version("live")
    live, planned = posted.publication(version_id), posted.publication(version_id, status="scheduled")
    grant_id = posted.grant(version_id, ends_on=TODAY - timedelta(1), reference="ACME-14")
    url = publication(posted, live).live_url
    assert httpx.get(url).status_code == 200
    rows = sweep(posted)
    assert sorted(row["publication_id"] for row in rows) == sorted([live, planned])
    assert all(row["mailed"] and row["asset"] == "HERO_ACME" for row in rows)
    assert rows[0]["reason"].startswith("the licence ACME-14 ended on ")
    assert httpx.get(url).status_code in (404, 410)
    taken = publication(posted, live)
    assert taken.status == publication(posted, planned).status == "withdrawn"
    assert [probe["status"] in (404, 410) for probe in taken.takedown["endpoints"]] == [True]
    assert posted.get(version_id).state == "withdrawn"
    assert grant(posted, grant_id).closed_at is not None
    assert "rights.closed" in posted.actions(posted.asset(version_id))
    assert any(mailed["subject"].startswith("Withdrawn from web: HERO_ACME") for mailed in sent)
    assert sweep(posted) == []


def test_the_strictest_of_two_grants_wins(library):
    version_id = library.version("live")
    publication_id = library.publication(version_id)
    ended, open_end = (
        library.grant(version_id, ends_on=TODAY - timedelta(1)),
        library.grant(version_id, ends_on=None),
    )
    assert licences.expired(library.services, today=TODAY) == [publication_id]
    sweep(library)
    assert grant(library, ended).closed_at is not None
    assert grant(library, open_end).closed_at is None


def test_one_that_still_answers_stops_nobody_and_is_tried_again(library):
    stubborn, good = library.version("live", name="A"), library.version("live", name="B")
    still, gone = library.publication(stubborn), library.publication(good)
    grants = [library.grant(version, ends_on=TODAY - timedelta(1)) for version in (stubborn, good)]
    library.services.storage.origin.put("cache/copy.webp", b"a cache that nobody purged")
    with library.services.session() as session:
        row = session.get_one(Publication, still)
        row.endpoints = [*row.endpoints, {"kind": "entry", "url": f"{library.origin.url}/cache/copy.webp"}]
    rows = {row["publication_id"]: row for row in sweep(library)}
    assert "cache/copy.webp" in rows[still]["error"]
    assert "receipt" in rows[gone]
    assert [grant(library, grant_id).closed_at is None for grant_id in grants] == [True, False]
    assert [library.get(version).state for version in (stubborn, good)] == ["live", "withdrawn"]
    library.services.storage.origin.delete("cache/copy.webp")
    [row] = sweep(library)
    assert (row["publication_id"], "receipt" in row) == (still, True)
    assert grant(library, grants[0]).closed_at is not None


def test_what_a_failed_delivery_left_behind_keeps_the_grant_open(library):
    version_id = library.version("approved")
    left = library.publication(version_id, status="failed")
    library.publication(version_id, status="failed", receipt=None)
    grant_id = library.grant(version_id, ends_on=TODAY - timedelta(1))
    assert licences.expired(library.services, today=TODAY) == [left]
    sweep(library)
    assert publication(library, left).status == "withdrawn"
    assert grant(library, grant_id).closed_at is not None


def test_a_mail_that_fails_does_not_undo_a_takedown(posted, monkeypatch):
    def fails(url: str, message: Any) -> None:
        raise mail.MailFailed("the server said no")

    monkeypatch.setattr(mail, "_hand_over", fails)
    version_id = posted.version("live")
    posted.publication(version_id)
    posted.grant(version_id, ends_on=TODAY - timedelta(1))
    [row] = sweep(posted)
    assert (row["mailed"], row["receipt"]["channel"]) == (False, "web")


def test_a_closed_grant_that_is_renewed_is_watched_again(library):
    version_id = library.version("live")
    grant_id = library.grant(version_id, ends_on=TODAY - timedelta(1))
    sweep(library)
    assert grant(library, grant_id).closed_at is not None
    with library.services.session() as session:
        session.get_one(Grant, grant_id).ends_on = TODAY + timedelta(3)
    assert grant(library, grant_id).closed_at is None
    publication_id = library.publication(version_id)
    assert licences.expired(library.services, today=TODAY + timedelta(4)) == [publication_id]


def test_a_day_that_has_not_come_is_a_rehearsal(posted, sent):
    version_id = posted.version("live")
    publication_id = posted.publication(version_id)
    grant_id = posted.grant(version_id, ends_on=TODAY + timedelta(6), reference="ACME-14")
    strict = posted.strict()
    for _ in range(2):  # it leaves nothing behind
        [alert] = licences.alert(strict, today=TODAY + timedelta(5))
        assert (alert["mark"], alert["rehearsal"], alert["mailed"]) == (1, True, False)
        [row] = licences.withdraw_expired(strict, today=TODAY + timedelta(7), wait=no_wait)
        assert (row["publication_id"], row["asset"], row["rehearsal"]) == (publication_id, "HERO_ACME", True)
        assert row["reason"].startswith("the licence ACME-14 ended on ")
    assert sent == []
    assert httpx.get(publication(posted, publication_id).live_url).status_code == 200
    assert (publication(posted, publication_id).status, posted.get(version_id).state) == ("live", "live")
    assert grant(posted, grant_id).closed_at is None
    assert posted.actions(posted.asset(version_id)) == posted.actions(publication_id) == []
    assert [row["mark"] for row in licences.alert(strict, today=TODAY)] == [7]
    assert "rehearsal" not in licences.withdraw_expired(strict, today=TODAY, wait=no_wait)


def test_what_ended_only_for_a_sweep_that_looked_ahead_is_watched_again(library):
    version_id = library.version("live")
    first = library.publication(version_id)
    grant_id = library.grant(version_id, ends_on=TODAY + timedelta(3))
    assert [row["publication_id"] for row in sweep(library, TODAY + timedelta(7))] == [first]
    assert grant(library, grant_id).closed_at is None
    again = library.publication(version_id)
    assert [row["publication_id"] for row in sweep(library, TODAY + timedelta(4))] == [again]


def midnight(days: int) -> datetime:
    return datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(days)


def test_a_window_that_ended_though_the_licence_was_renewed_is_moved(library):
    version_id = library.version("live")
    publication_id = library.publication(version_id, ends_at=midnight(0))
    library.grant(version_id, ends_on=TODAY + timedelta(9))
    assert licences.expired(library.services, today=TODAY) == []
    assert sweep(library) == []
    assert publication(library, publication_id).ends_at == midnight(10)
    assert "publication.prolonged" in library.actions(publication_id)


def test_a_window_that_ends_with_its_campaign(library):
    path = library.services.settings.include / "templates" / "channels" / "web.yaml"
    path.write_text(path.read_text().replace("end_with_campaign: false", "end_with_campaign: true"))
    version_id = library.version("live")
    library.grant(version_id, ends_on=None)
    publication_id = library.publication(version_id, ends_at=midnight(0))
    assert licences.expired(library.services, today=TODAY) == []
    with library.services.session() as session:
        session.scalars(select(Campaign)).one().ends_on = TODAY - timedelta(1)
    [row] = sweep(library)
    assert row["publication_id"] == publication_id
    assert row["reason"].startswith("the campaign Spring-2027 ended on ")


# ------------------------------------------------------------------------------------ cost of a sweep


@pytest.mark.slow
def test_the_sweep_reads_what_is_due_not_twenty_thousand_others(library):
    version_id = library.version("live")
    asset_id = library.asset(version_id)
    publication_id = library.publication(version_id)
    library.grant(version_id, ends_on=TODAY - timedelta(1), reference="DUE")
    with library.services.session() as session:
        for statement in (
            "INSERT INTO licences (id, reference, holder, kind, terms, created_at)"
            " SELECT 'lic_' || n, 'BULK-' || n, 'N', 'owned', '', now() FROM generate_series(1, 20000) n",
            "INSERT INTO grants (id, asset_id, licence_id, territories, channels, starts_on, ends_on, model_release,"
            " property_release, permissions, duties, source)"
            f" SELECT 'grt_' || n, '{asset_id}', 'lic_' || n, '{{DE}}', '{{web}}',"
            " current_date - 900, current_date + 400, 'not_needed', 'not_needed', '{*}', '{}', 'batch'"
            " FROM generate_series(1, 20000) n",
            "INSERT INTO publications SELECT (jsonb_populate_record(p, jsonb_build_object('id', 'pub_' || n,"
            " 'idempotency_key', n, 'ends_at', now() + interval '400 days'))).*"
            f" FROM publications p, generate_series(1, 20000) n WHERE p.id = '{publication_id}'",
            "UPDATE publications SET version_id = version_id, status = 'withdrawn', takedown = '{}'"
            f" WHERE id <> '{publication_id}' AND idempotency_key::int % 2 = 0",
            "ANALYZE",
        ):
            session.execute(text(statement))
    for query, index in (
        (licences._ended_rights(TODAY), "ix_grants_due"),
        (licences._expiring(TODAY), "ix_grants_due"),
        (licences._ended_windows(TODAY), "ix_publications_ending"),
    ):
        with library.services.session() as session:
            compiled = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(session.execute(text(f"EXPLAIN {compiled}".replace(":", "\\:"))).scalars())
        assert index in plan
        assert "Seq Scan on grants" not in plan
    assert issubclass(mail.MailFailed, DamError)


@pytest.mark.parametrize(("said", "ahead"), [({}, False), ({"DAM_CLOCK_MAY_RUN_AHEAD": "1"}, True)])
def test_the_clock_runs_ahead_only_where_the_environment_says_so(tmp_path, said, ahead):
    environ = {"DAM_CATALOG_URL": "postgresql+psycopg://x", "DAM_STORAGE_URL": "/x"} | said
    assert Settings.from_env(environ=environ).clock_may_run_ahead is ahead
    demo = Stack(state=tmp_path).env("postgresql://x/postgres?")
    assert demo["DAM_CLOCK_MAY_RUN_AHEAD"] == "1"
    assert "DAM_CLOCK_MAY_RUN_AHEAD" not in (PROJECT / "docker-compose.yaml").read_text()
