"""The operators: thin adapters that fail plainly, skip what is not theirs, and lose no answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import yaml
from sqlalchemy import select

import world
from dam.catalog.models import Tag, Version
from dam.review import packages
from dam.settings import PROJECT

pytestmark = pytest.mark.usefixtures("airflow_home")


@pytest.fixture
def run(services, monkeypatch):
    """Point the operators at this test's services, and return a function that makes a context."""
    from dam_operators import base, create, human, review

    for module in (base, create, human, review):
        monkeypatch.setattr(module, "get_services", lambda: services)

    def context(run_id="r1", key=None, try_number=1):
        emitted = []
        event = SimpleNamespace(add_partitions=emitted.extend)
        return {
            "dag_run": SimpleNamespace(dag_id="d", run_id=run_id, partition_key=key),
            "ti": SimpleNamespace(
                id="ti", dag_id="d", run_id=run_id, task_id="seat", map_index=0, try_number=try_number,
                xcom_push=lambda **kwargs: emitted.append(kwargs),
            ),
            "task_instance": SimpleNamespace(id="ti"),
            "outlet_events": {"event": event},
            "emitted": emitted,
        }  # fmt: skip

    return context


@pytest.fixture
def seat(services, tmp_path):
    """A package under review; returns its first seat and its id."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    return packages.seats(services, package_id=package_id)[0]["seat_id"], package_id


class TestClaim:
    def test_the_first_run_gets_the_key_and_keeps_it_when_cleared(self, run):
        from dam_operators.base import ClaimOperator

        operator = ClaimOperator(task_id="claim", key="bat_1", take_over=False)
        assert operator.execute(run("r1")) == "bat_1"
        assert operator.execute(run("r1")) == "bat_1"

    def test_a_second_run_is_skipped_unless_it_takes_over(self, run):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.base import ClaimOperator

        ClaimOperator(task_id="claim", key="bat_1", take_over=False).execute(run("r1"))
        with pytest.raises(AirflowSkipException, match="belongs to d/r1"):
            ClaimOperator(task_id="claim", key="bat_1", take_over=False).execute(run("r2"))
        assert ClaimOperator(task_id="claim", key="bat_1", take_over="True").execute(run("r2")) == "bat_1"

    def test_a_run_without_a_key_says_what_to_do(self, run):
        from airflow.sdk.exceptions import AirflowFailException

        from dam_operators.base import ClaimOperator

        with pytest.raises(AirflowFailException, match="param key"):
            ClaimOperator(task_id="claim", key="").execute(run())


class TestAnnounce:
    @pytest.mark.parametrize(("keys", "told"), [("a", ["a"]), (["a", "", "b"], ["a", "b"])])
    def test_tells_each_key(self, run, keys, told):
        from airflow.sdk import Asset

        from dam_operators.base import AnnounceOperator

        event, context = Asset("x", uri="x-dam://x"), run()
        context["outlet_events"] = {event: context["outlet_events"]["event"]}
        assert AnnounceOperator(task_id="a", event=event, keys=keys).execute(context) == told
        assert context["emitted"] == told

    @pytest.mark.parametrize("keys", ["", [], [""], None, "None"])
    def test_without_a_key_nothing_is_told(self, run, keys):
        from airflow.sdk import Asset
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.base import AnnounceOperator

        with pytest.raises(AirflowSkipException):
            AnnounceOperator(task_id="a", event=Asset("x", uri="x-dam://x"), keys=keys).execute(run())


class TestSeat:
    @pytest.fixture
    def asked(self, monkeypatch):
        """Collect what Airflow is asked to ask."""
        from airflow.providers.standard.operators import hitl

        found = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **kwargs: found.append(kwargs))
        return found

    def ask(self, seat_id, context):
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SeatOperator

        operator = SeatOperator(task_id="seat", seat_id=seat_id)
        with pytest.raises(TaskAwaitingInput):
            operator.execute(context)
        return operator

    def event(self, person, option, comment="", versions=""):
        return {
            "chosen_options": [option],
            "params_input": {"comment": comment, "versions": versions},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": person, "name": person},
        }

    def test_asks_the_eligible_and_shows_the_hash(self, run, asked, seat):
        self.ask(seat[0], run())
        assert asked[0]["assigned_users"] == [{"id": "bea", "name": "bea"}]
        assert "Manifest `" in asked[0]["body"]
        assert asked[0]["defaults"] is None

    def test_an_answer_is_recorded_under_the_persons_name(self, run, asked, services, seat):
        operator = self.ask(seat[0], run())
        assert operator.execute_complete(run(), self.event("bea", "Approve", "Good.")) == "approve"
        assert packages.seats(services, package_id=seat[1])[0]["signed_by"] == "bea"

    @pytest.mark.parametrize("person", ["dario", "maya"])
    def test_an_answer_that_a_rule_refuses_is_asked_again(self, run, asked, services, seat, person):
        from airflow.sdk.exceptions import TaskAwaitingInput

        operator = self.ask(seat[0], run())
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.event(person, "Approve"))
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "open"

    def test_silence_expires_and_approves_nothing(self, run, asked, services, seat):
        operator = self.ask(seat[0], run())
        event = {"error": "timed out", "error_type": "timeout"}
        assert operator.execute_complete(run(), event) == "expired"
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "expired"

    def test_a_package_that_changed_ends_the_seat_as_void(self, run, asked, services, seat):
        from dam.enrich import contracts

        operator = self.ask(seat[0], run())
        version_id = packages.versions(services, package_id=seat[1])[0]
        contracts.fill(services, version_id=version_id, values={"title": "Another"}, person="libby")
        assert operator.execute_complete(run(), self.event("bea", "Approve")) == "void"

    def test_a_seat_that_is_signed_is_not_asked_again(self, run, asked, services, seat):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.human import SeatOperator

        operator = self.ask(seat[0], run())
        operator.execute_complete(run(), self.event("bea", "Approve"))
        with pytest.raises(AirflowSkipException):
            SeatOperator(task_id="seat", seat_id=seat[0]).execute(run())

    @pytest.mark.parametrize("option", ["Reject", "Approve"])
    def test_a_veto_asks_nobody_else_and_an_approval_does(self, run, asked, services, seat, option):
        from airflow.sdk.exceptions import DownstreamTasksSkipped

        brand, legal = packages.seats(services, package_id=seat[1])
        assert brand["seat_id"] == seat[0]
        context = run()
        context["ti"].map_index = 1
        self.ask(legal["seat_id"], context)
        operator = self.ask(brand["seat_id"], run())
        context = run()
        if option == "Approve":
            assert operator.execute_complete(context, self.event("bea", option, "It is off brand.")) == "approve"
            return
        with pytest.raises(DownstreamTasksSkipped) as skipped:
            operator.execute_complete(context, self.event("bea", option, "It is off brand."))
        assert skipped.value.tasks == [("seat", 1)]
        assert context["emitted"] == [{"key": "return_value", "value": "reject"}]
        with pytest.raises(DownstreamTasksSkipped):  # killed just then, and tried again
            operator.execute(run())


class TestClearRisks:
    """What the preflight found risky goes out by a person's answer, and by nothing else."""

    @pytest.fixture
    def publications(self, services, seat):
        """Publications of an approved package under a legal hold."""
        from dam.catalog.lifecycle import place_hold
        from dam.channels import publish

        world.sign_all(services, seat[1])
        place_hold(services, reason="a lawsuit", person="ada", campaign_slug="spring-2027")
        plan = publish.plan(services, package_id=seat[1])
        assert plan["refused"] == []
        return [row["publication_id"] for row in plan["publications"]]

    @pytest.fixture
    def asked(self, monkeypatch):
        from airflow.providers.standard.operators import hitl

        found = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **kwargs: found.append(kwargs))
        return found

    def operator(self, publications):
        from dam_operators.human import ClearRisksOperator

        return ClearRisksOperator(task_id="clear_risks", publication_ids=publications)

    def event(self, option):
        return {
            "chosen_options": [option],
            "params_input": {"comment": "Settled."},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": "diego", "name": "diego"},
        }

    def test_the_digital_team_is_shown_each_risk_once(self, run, asked, publications):
        from airflow.sdk.exceptions import TaskAwaitingInput

        with pytest.raises(TaskAwaitingInput):
            self.operator(publications).execute(run())
        assert asked[0]["assigned_users"] == [{"id": "diego", "name": "diego"}]
        assert asked[0]["subject"] == f"Clear the risks of {len(publications)} publications of 2 assets"
        assert asked[0]["body"].count("a lawsuit") == 1
        assert "- SPRING27-HERO-B_ACME v1 on web" in asked[0]["body"]

    def test_what_is_cleared_goes_on_also_when_the_task_is_killed_then(self, run, asked, publications):
        operator = self.operator(publications)
        rows = operator.execute_complete(run(), self.event("Publish"))
        assert sorted(id_ for row in rows for id_ in row["publication_ids"]) == sorted(publications)
        assert operator.execute(run(try_number=2)) == rows

    def test_what_is_held_back_does_not(self, run, asked, services, publications):
        from airflow.sdk.exceptions import AirflowSkipException

        operator = self.operator(publications)
        assert operator.execute_complete(run(), self.event("Hold back")) == []
        with pytest.raises(AirflowSkipException):
            operator.execute(run())

    def test_silence_holds_back(self, run, asked, services, publications):
        from dam.channels import publish

        operator = self.operator(publications)
        assert operator.execute_complete(run(), {"error": "timed out", "error_type": "timeout"}) == []
        assert publish.risky(services, publication_ids=publications) == []
        assert publish.cleared(services, publication_ids=publications) == []

    @pytest.mark.parametrize("nothing", [[], None])
    def test_without_a_risk_nobody_is_asked(self, run, asked, nothing):
        from airflow.sdk.exceptions import AirflowSkipException

        with pytest.raises(AirflowSkipException):
            self.operator(nothing).execute(run())
        assert asked == []


class TestTriggers:
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("DeliverablesTrigger", {"batch_id": "bat_1", "poll_seconds": 2.0}),
            ("VerdictTrigger", {"package_id": "pkg_1", "poll_seconds": 2.0}),
            ("InboxTrigger", {"poll_seconds": 2.0}),
        ],
    )
    def test_what_is_serialised_makes_the_same_trigger_again(self, name, arguments):
        from dam_operators import triggers

        made = getattr(triggers, name)(**arguments)
        path, kwargs = made.serialize()
        assert (path, kwargs) == (f"dam_operators.triggers.{name}", arguments)
        again = getattr(triggers, path.rsplit(".", 1)[1])(**kwargs)
        assert again.serialize() == (path, kwargs)


def test_bad_input_fails_at_once_and_plainly(run):
    from airflow.sdk.exceptions import AirflowFailException

    from dam_operators.create import OpenCreatorTasksOperator

    with pytest.raises(AirflowFailException, match="there is no such brief"):
        OpenCreatorTasksOperator(task_id="t", key="brf_nothing").execute(run())


class TestTags:
    """Slow and paid taggers run after the gate, and only where one is switched on."""

    @pytest.fixture
    def ingested(self, services, tmp_path):
        batch_id = world.drop(services, "drops/a", [world.picture(tmp_path, "A.jpg")])
        world.ingest(services, batch_id)
        with services.session() as session:
            return batch_id, session.scalars(select(Version.id)).one()

    def test_without_a_slow_tagger_nothing_is_planned_and_a_chunk_is_skipped(self, run, ingested):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.ingest import PlanTagsOperator, TagOperator

        batch_id, version_id = ingested
        assert PlanTagsOperator(task_id="plan_tags", batch_id=batch_id).execute(run()) == []
        with pytest.raises(AirflowSkipException):
            TagOperator(task_id="tag", version_ids=[version_id]).execute(run())

    def test_rekognition_is_reached_through_its_airflow_connection(
        self, run, services, ingested, tmp_path, monkeypatch
    ):
        from moto.server import ThreadedMotoServer

        from dam.services import Services
        from dam_operators import base
        from dam_operators.ingest import PlanTagsOperator, TagOperator
        from dam_operators.services import _aws

        folder = shutil.copytree(PROJECT / "include", tmp_path / "include")
        path = folder / "taxonomy" / "taggers.yaml"
        told = yaml.safe_load(path.read_text())
        for tagger in told["taggers"]:
            tagger["enabled"] = tagger["name"] == "rekognition"
        path.write_text(yaml.safe_dump(told))
        words = folder / "taxonomy" / "vocabulary.yaml"
        words.write_text(words.read_text().replace("technology: {en: technology,", "technology: {en: mobile phone,"))
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        extra = f"?region_name=eu-central-1&endpoint_url=http%3A%2F%2F{host}%3A{port}"
        monkeypatch.setenv("AIRFLOW_CONN_DAM_REKOGNITION", f"aws://test:secret@/{extra}")
        found = Services(replace(services.settings, include=folder), aws=_aws)
        monkeypatch.setattr(base, "get_services", lambda: found)
        batch_id, version_id = ingested
        try:
            chunks = PlanTagsOperator(task_id="plan_tags", batch_id=batch_id).execute(run())
            assert chunks == [[version_id]]
            told = TagOperator(task_id="tag", version_ids=chunks[0]).execute(run())
            assert told == {"rekognition": {"done": 1, "skipped": 0, "failed": 0, "tags": 1}}
        finally:
            server.stop()
            found.engine.dispose()
        with services.session() as session:
            tag = session.scalars(select(Tag).where(Tag.source == "rekognition")).one()
        assert (tag.term_id, tag.status) == ("subject/technology", "applied")
