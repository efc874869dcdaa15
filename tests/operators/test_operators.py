"""The operators: thin adapters that fail plainly, skip what is not theirs, and lose no answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

import world
from dam.catalog.models import Batch, Brief, CreatorTask, DestructionCertificate, Seat, Tag, Version, utcnow
from dam.channels.wire import ChannelRefused, ChannelUnavailable
from dam.errors import Refused
from dam.plan import briefs
from dam.review import packages
from dam.settings import PROJECT

pytestmark = pytest.mark.usefixtures("airflow_home")


@pytest.fixture
def run(services, monkeypatch):
    """Point the operators at this test's services, and return a function that makes a context."""
    from dam_operators import base, create, human, review

    for module in (base, create, human, review):
        monkeypatch.setattr(module, "get_services", lambda: services)

    kept = {}
    store = SimpleNamespace(
        get=kept.get, set=lambda key, value, **_: kept.update({key: value}), delete=lambda key: kept.pop(key, None)
    )

    def context(run_id="r1", key=None, try_number=1, states=None):
        """:param states: of the run's mapped tasks; the second seat waits unless told otherwise."""
        emitted = []
        event = SimpleNamespace(add_partitions=emitted.extend)
        return {
            "dag_run": SimpleNamespace(dag_id="d", run_id=run_id, partition_key=key),
            "ti": SimpleNamespace(
                id="ti", dag_id="d", run_id=run_id, task_id="seat", map_index=0, try_number=try_number, max_tries=3,
                xcom_push=lambda **kwargs: emitted.append(kwargs),
                get_task_states=lambda **asked: {run_id: states or {"seat_1": "awaiting_input"}},
            ),
            "task_instance": SimpleNamespace(id="ti"),
            "outlet_events": {"event": event},
            "task_state_store": store,
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

    def test_a_workflow_of_a_drop_takes_no_other_batch(self, run, services):
        from airflow.sdk.exceptions import AirflowFailException

        from dam.catalog.claims import owner
        from dam_operators.base import ClaimOperator

        own = world.drop(services, "drops/partners/x", [])
        for location in ("campaigns/spring-2027/brief-1", "drops/x", "drops/partners2/x"):
            other = world.drop(services, location, [])
            with pytest.raises(AirflowFailException, match=f"it lies in {location}, not below drops/partners/"):
                ClaimOperator(task_id="claim", key=other, take_over="True", drop="partners").execute(run())
            assert owner(services, stage="d", key=other) is None
        with pytest.raises(AirflowFailException, match="no such batch"):
            ClaimOperator(task_id="claim", key="bat_none", drop="partners").execute(run())
        assert ClaimOperator(task_id="claim", key=own, take_over=False, drop="partners").execute(run()) == own

    def test_a_run_without_a_key_says_what_to_do(self, run):
        from airflow.sdk.exceptions import AirflowFailException

        from dam_operators.base import ClaimOperator

        with pytest.raises(AirflowFailException, match="param key"):
            ClaimOperator(task_id="claim", key="").execute(run())


class TestBrief:
    """A brief is asked for as every package is, and releases nothing."""

    @pytest.fixture
    def brief_id(self, services):
        return str(briefs.draft(services, form=world.form(), drafted_by="momo")["brief_id"])

    @pytest.fixture
    def frozen(self, run, brief_id):
        from dam_operators.plan import FreezeBriefOperator

        return FreezeBriefOperator(task_id="freeze", brief_id=brief_id).execute(run())

    def answered(self, run, services, package_id, option, monkeypatch):
        """Ask for the seat, let maya answer, and return what the question showed and what the verdict's task tells."""
        from airflow.providers.standard.operators import hitl
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SeatOperator
        from dam_operators.review import VerdictOperator

        asked = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: asked.append(detail))
        [seat] = packages.seats(services, package_id=package_id)
        operator = SeatOperator(task_id="seat", seat_id=seat["seat_id"])
        with pytest.raises(TaskAwaitingInput):
            operator.execute(run())
        operator.execute_complete(run(), TestSeat.event(self, "maya", option, "Too dear."))
        return asked[0], VerdictOperator(task_id="verdict", package_id=package_id).execute(run())

    def test_signed_it_is_told_and_nothing_is_activated(self, run, services, brief_id, frozen, monkeypatch):
        question, told = self.answered(run, services, frozen, "Approve", monkeypatch)
        assert question["subject"] == "Spring 2027: brief 1 for the marketing lead, round 1"
        assert "20 % more visits by May" in question["body"]
        assert f"/dam/packages/{frozen}" in question["body"]
        assert [user["id"] for user in question["assigned_users"]] == ["maya"]
        assert told["signed_brief"] == brief_id
        assert (told["approved_package"], told["changes_package"], told["next_package"]) == ("", "", "")

    def test_sent_back_nothing_is_told(self, run, services, brief_id, frozen, monkeypatch):
        _, told = self.answered(run, services, frozen, "Request changes", monkeypatch)
        assert (told["signed_brief"], told["approved_package"], told["changes_package"]) == ("", "", "")
        with services.session() as session:
            assert session.get_one(Brief, brief_id).return_reason == "Maya Lindqvist: Too dear."

    def test_cleared_it_freezes_the_same_and_tells_the_same(self, run, services, brief_id, frozen, monkeypatch):
        from dam_operators.plan import FreezeBriefOperator
        from dam_operators.review import VerdictOperator

        _, told = self.answered(run, services, frozen, "Approve", monkeypatch)
        assert FreezeBriefOperator(task_id="freeze", brief_id=brief_id).execute(run("r1")) == frozen
        assert VerdictOperator(task_id="verdict", package_id=frozen).execute(run("r2")) == told

    def test_where_nobody_may_sign_it_fails_plainly(self, run, services):
        from airflow.sdk.exceptions import AirflowFailException

        from dam_operators.plan import FreezeBriefOperator

        own = briefs.draft(services, form=world.form(), drafted_by="maya")["brief_id"]
        with pytest.raises(AirflowFailException, match="nobody may take the seat of the marketing lead"):
            FreezeBriefOperator(task_id="freeze", brief_id=own).execute(run())


class TestAnnounce:
    @pytest.mark.parametrize(
        ("keys", "told"),
        [("a", ["a"]), (["a", "", "b"], ["a", "b"]), ([["a"], [], ["b", "a"]], ["a", "b"])],  # of mapped tasks
    )
    def test_tells_each_key(self, run, keys, told):
        from airflow.sdk import Asset

        from dam_operators.base import AnnounceOperator

        event, context = Asset("x", uri="x-dam://x"), run()
        context["outlet_events"] = {event: context["outlet_events"]["event"]}
        assert AnnounceOperator(task_id="a", event=event, keys=keys).execute(context) == told
        assert context["emitted"] == told

    @pytest.mark.parametrize("keys", ["", [], [""], [[]], None, "None"])
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

    def test_it_mails_whom_it_asks_once_with_the_deadline(self, run, asked, services, seat):
        from catchers import mail_server

        with mail_server() as (inbox, url):
            services.settings = replace(services.settings, smtp_url=url)
            for _ in range(2):  # as for a second signature
                self.ask(seat[0], run())
        [(people, message)] = inbox.mails
        assert people == ["bea@acme.example"]
        assert f"/dam/packages/{seat[1]}#" in message.get_body(("plain",)).get_content()
        assert [part.get_filename() for part in message.iter_attachments()] == ["deadline.ics"]

    def test_a_mail_server_that_is_down_keeps_no_question_back(self, run, asked, services, seat):
        services.settings = replace(services.settings, smtp_url="smtp://127.0.0.1:9")
        self.ask(seat[0], run())
        assert asked

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

    @pytest.mark.parametrize(
        "versions",
        [
            "none",
            "[1]",
            "7",
            '"x"',
            '{"v": 1}',
            '{"v": {"verdict": ["reject"]}}',
            '{"v": {}}',
            '{"v": {"x": "y"}}',
            [1],
        ],
    )
    def test_single_versions_that_can_not_be_read_are_asked_again(self, run, asked, services, seat, versions):
        from airflow.sdk.exceptions import TaskAwaitingInput

        operator = self.ask(seat[0], run())
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.event("bea", "Approve", versions=versions))
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "open"

    @pytest.mark.parametrize("versions", ["", " ", None, "{}", {}])
    def test_without_single_versions_the_verdict_is_the_packages(self, run, asked, seat, versions):
        operator = self.ask(seat[0], run())
        assert operator.execute_complete(run(), self.event("bea", "Approve", versions=versions)) == "approve"

    def test_silence_expires_and_approves_nothing(self, run, asked, services, seat):
        operator = self.ask(seat[0], run())
        event = {"error": "timed out", "error_type": "timeout"}
        assert operator.execute_complete(run(), event) == "expired"
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "expired"

    @pytest.fixture
    def due(self, services, seat):
        """Set the seat's deadline, hours from now."""

        def change(hours):
            with services.session() as session:
                session.get_one(Seat, seat[0]).due_at = datetime.now(UTC) + timedelta(hours=hours)

        return change

    def test_the_time_to_answer_is_the_seats_own(self, run, asked, due, seat):
        due(5)
        operator = self.ask(seat[0], run())
        assert timedelta(hours=4.9) < operator.response_timeout <= timedelta(hours=5)
        due(2)  # a refusal, a retry or a clear: the same deadline
        assert self.ask(seat[0], run()).response_timeout <= timedelta(hours=2)

    def test_after_the_deadline_nobody_is_asked(self, run, asked, services, due, seat):
        from dam_operators.human import SeatOperator

        due(-0.01)
        assert SeatOperator(task_id="seat", seat_id=seat[0]).execute(run()) == "expired"
        assert asked == []
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "expired"

    @pytest.mark.parametrize("in_time", [True, False])
    def test_an_answer_counts_from_when_it_was_given(self, run, asked, services, due, seat, in_time):
        operator = self.ask(seat[0], run())
        event = self.event("bea", "Approve")
        event["responded_at"] += timedelta(hours=-2 if in_time else 0)
        due(-1)
        assert operator.execute_complete(run(), event) == ("approve" if in_time else "expired")
        assert packages.seats(services, package_id=seat[1])[0]["status"] == ("signed" if in_time else "expired")

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

    def test_who_signs_while_the_question_is_being_asked_is_not_asked(self, run, asked, monkeypatch, services, seat):
        from airflow.providers.standard.operators import hitl
        from airflow.sdk.exceptions import AirflowSkipException

        from dam.review import seats
        from dam_operators.human import SeatOperator

        def sign(**_):
            seats.decide(services, seat_id=seat[0], person="bea", verdict="approve")

        monkeypatch.setattr(hitl, "upsert_hitl_detail", sign)
        with pytest.raises(AirflowSkipException, match="signed already"):
            SeatOperator(task_id="seat", seat_id=seat[0]).execute(run())

    def test_a_retry_waits_for_the_question_that_stands_and_wipes_no_answer_out(self, run, asked, services, seat):
        """Airflow retries a task that was answered while it was being parked, and asking wipes the answer out."""
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SeatOperator

        self.ask(seat[0], run())
        answer = self.event("bea", "Approve")
        again = SeatOperator(task_id="seat", seat_id=seat[0])
        with pytest.raises(TaskAwaitingInput) as parked:
            again.execute(run(try_number=2))
        assert len(asked) == 1
        assert getattr(again, parked.value.method_name)(run(try_number=2), answer) == "approve"
        assert packages.seats(services, package_id=seat[1])[0]["signed_by"] == "bea"

    @pytest.mark.parametrize("in_time", [True, False])
    def test_what_was_answered_in_time_is_heard_by_a_retry_after_the_deadline(
        self, run, asked, services, due, seat, in_time
    ):
        from airflow.sdk.exceptions import TaskAwaitingInput

        self.ask(seat[0], run())
        due(-0.01)
        event = {"error": "timed out", "error_type": "timeout"}
        if in_time:
            event = self.event("bea", "Approve")
            event["responded_at"] -= timedelta(hours=1)
        with pytest.raises(TaskAwaitingInput) as parked:
            self.ask(seat[0], run(try_number=2)).execute(run(try_number=2))
        assert parked.value.timeout == timedelta()
        told = self.ask(seat[0], run(try_number=2)).take_up(run(try_number=2), event)
        assert told == ("approve" if in_time else "expired")
        assert len(asked) == 1

    def test_an_answer_that_was_heard_is_asked_for_again_by_a_retry(self, run, asked, services, seat):
        """It was refused, or is taken back by now; the question still has it."""
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam.review import seats

        operator = self.ask(seat[0], run())
        answer = self.event("bea", "Approve")
        assert operator.execute_complete(run(), answer) == "approve"
        seats.undo(services, seat_id=seat[0], person="bea")
        retry = self.ask(seat[0], run(try_number=2))
        assert len(asked) == 1
        with pytest.raises(TaskAwaitingInput) as parked:
            retry.take_up(run(try_number=2), answer)
        assert len(asked) == 2
        assert parked.value.method_name == "execute_complete"
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "open"

    @pytest.mark.parametrize("elsewhere", [{}, {"run_id": "r0"}, {"dag_id": "other"}])
    @pytest.mark.parametrize("state", ["awaiting_input", "scheduled", "success"])
    def test_the_last_answer_lets_a_seat_go_whose_signature_no_task_heard(
        self, run, asked, services, seat, state, elsewhere
    ):
        """It was signed in the room just then, or in an earlier run that this one took the package over from."""
        from airflow.sdk.exceptions import DownstreamTasksSkipped

        from dam.review import seats

        legal = packages.seats(services, package_id=seat[1])[1]["seat_id"]
        place = {"dag_id": "d", "run_id": "r1", "task_id": "seat", "map_index": 1}
        seats.attach(services, seat_id=legal, hitl=place | elsewhere)
        seats.decide(services, seat_id=legal, person="lena", verdict="approve")
        context = run(states={"seat_0": "running", "seat_1": state})
        operator = self.ask(seat[0], context)
        if state != "awaiting_input" or "dag_id" in elsewhere:
            assert operator.execute_complete(context, self.event("bea", "Approve")) == "approve"
            return
        with pytest.raises(DownstreamTasksSkipped) as skipped:
            operator.execute_complete(context, self.event("bea", "Approve"))
        assert skipped.value.tasks == [("seat", 1)]

    @pytest.fixture
    def two(self, services, seat):
        """The brand seat needs two of three people."""
        with services.session() as session:
            first = session.get_one(Seat, seat[0])
            first.needed, first.eligible = 2, ["bea", "momo", "maya"]

    def test_a_seat_of_two_signatures_asks_again_at_once_after_the_first(self, run, asked, services, two, seat):
        from airflow.sdk.exceptions import TaskAwaitingInput

        operator = self.ask(seat[0], run())
        assert [user["id"] for user in asked[0]["assigned_users"]] == ["bea", "momo", "maya"]
        assert "Signed by 0 of the 2" in asked[0]["body"]
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.event("bea", "Approve"))
        assert [user["id"] for user in asked[1]["assigned_users"]] == ["momo", "maya"]
        assert "Signed by 1 of the 2" in asked[1]["body"]
        with pytest.raises(TaskAwaitingInput):  # bea again: it is the same signature, and not a second one
            operator.execute_complete(run(), self.event("bea", "Approve"))
        assert operator.execute_complete(run(), self.event("momo", "Approve")) == "approve"
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "signed"

    def test_a_second_signature_that_the_room_took_meanwhile_asks_nobody(self, run, asked, services, two, seat):
        from dam.review import seats

        operator = self.ask(seat[0], run())
        seats.decide(services, seat_id=seat[0], person="momo", verdict="approve")
        assert operator.execute_complete(run(), self.event("bea", "Approve")) == "approve"
        assert len(asked) == 1

    def test_a_killed_task_of_two_signatures_asks_for_the_one_that_lacks(self, run, asked, services, two, seat):
        from dam.review import seats

        self.ask(seat[0], run())
        seats.decide(services, seat_id=seat[0], person="bea", verdict="approve")
        self.ask(seat[0], run())
        assert [user["id"] for user in asked[-1]["assigned_users"]] == ["momo", "maya"]

    def test_conditions_and_a_deputy_are_the_same_act_as_in_the_room(self, run, asked, services, seat):
        from dam.review import seats

        start = utcnow()
        seats.away(services, person="bea", deputy="vic", start=start, until=start + timedelta(days=1))
        operator = self.ask(seat[0], run())
        assert [user["id"] for user in asked[0]["assigned_users"]] == ["bea", "vic"]
        event = self.event("vic", "Approve")
        event["params_input"]["conditions"] = "Mend the title."
        assert operator.execute_complete(run(), event) == "approve"
        [signed] = packages.seats(services, package_id=seat[1])[0]["signatures"]
        assert (signed["person"], signed["on_behalf_of"], signed["conditions"]) == ("vic", "bea", "Mend the title.")
        assert signed["via"] == "airflow"

    def test_to_reject_without_a_reason_is_asked_again(self, run, asked, services, seat):
        from airflow.sdk.exceptions import TaskAwaitingInput

        operator = self.ask(seat[0], run())
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.event("bea", "Reject"))
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "open"

    def test_a_seat_that_is_not_needed_is_skipped_and_says_why(self, run, asked, services, seat):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.human import SeatOperator

        with services.session() as session:
            first = session.get_one(Seat, seat[0])
            first.status, first.reason = "not_needed", "No version of the package shows people."
        with pytest.raises(AirflowSkipException, match="the seat is not needed: No version of the package shows"):
            SeatOperator(task_id="seat", seat_id=seat[0]).execute(run())
        assert asked == []

    def test_an_answer_that_was_taken_back_in_the_room_is_asked_again(self, run, asked, services, seat):
        """Airflow hears of it after the room recorded it and the signer thought better of it."""
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam.review import seats

        operator = self.ask(seat[0], run())
        event = self.event("bea", "Approve")
        seats.decide(services, seat_id=seat[0], person="bea", verdict="approve")
        seats.undo(services, seat_id=seat[0], person="bea")
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), event)
        assert packages.seats(services, package_id=seat[1])[0]["status"] == "open"

    def test_a_seat_that_was_taken_back_asks_again_when_its_task_is_cleared(self, run, asked, services, seat):
        from dam.review import seats

        operator = self.ask(seat[0], run())
        operator.execute_complete(run(), self.event("bea", "Approve"))
        seats.undo(services, seat_id=seat[0], person="bea")
        again = self.ask(seat[0], run(try_number=1))
        assert again.execute_complete(run(), self.event("bea", "Request changes", "Darker.")) == "request_changes"

    def test_a_seat_of_a_later_stage_takes_no_answer_before_its_time(self, run, asked, services, seat):
        from airflow.sdk.exceptions import TaskAwaitingInput

        legal = packages.seats(services, package_id=seat[1])[1]["seat_id"]
        with services.session() as session:
            waiting = session.get_one(Seat, legal)
            waiting.status, waiting.stage, waiting.opens_at, waiting.reason = "waiting", 2, None, "It waits."
        operator = self.ask(legal, run())
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.event("lena", "Approve"))
        self.ask(seat[0], run()).execute_complete(run(), self.event("bea", "Approve"))
        assert operator.execute_complete(run(), self.event("lena", "Approve")) == "approve"


class TestStages:
    @pytest.fixture
    def staged(self, services, seat):
        """The legal seat is of stage 2."""
        brand, legal = packages.seats(services, package_id=seat[1])
        with services.session() as session:
            later = session.get_one(Seat, legal["seat_id"])
            later.status, later.stage, later.opens_at, later.reason = "waiting", 2, None, "It waits."
        return brand["seat_id"], legal["seat_id"]

    def stage(self):
        from dam_operators.review import StageOperator

        return StageOperator(task_id="stage_2", package_id="x", after=1)

    def test_proofs_name_the_first_stage_and_a_task_opens_the_next(self, run, services, seat, staged):
        from dam.review import seats
        from dam_operators.review import ProofsOperator

        brand, legal = staged
        assert ProofsOperator(task_id="proofs", package_id=seat[1], upto=1).execute(run()) == [brand]
        assert ProofsOperator(task_id="proofs", package_id=seat[1]).execute(run()) == [brand, legal]
        seats.decide(services, seat_id=brand, person="bea", verdict="approve")
        operator = self.stage()
        operator.package_id = seat[1]
        for _ in range(2):  # cleared, or killed and tried again
            assert operator.execute(run()) == [legal]
            assert packages.seats(services, package_id=seat[1])[1]["status"] == "open"

    def test_a_review_that_is_over_opens_none(self, run, services, seat, staged):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam.review import seats

        seats.decide(services, seat_id=staged[0], person="bea", verdict="reject", comment="Off brand.")
        operator = self.stage()
        operator.package_id = seat[1]
        with pytest.raises(AirflowSkipException, match="the review is over: rejected"):
            operator.execute(run())

    def test_a_package_without_a_seat_in_the_stage_passes_it_over(self, run, services, seat):
        from airflow.sdk.exceptions import AirflowSkipException

        operator = self.stage()
        operator.package_id = seat[1]
        with pytest.raises(AirflowSkipException, match="no seat in this stage"):
            operator.execute(run())


class TestRounds:
    def test_reviews_that_lost_a_version_are_told(self, run, services, seat):
        from dam_operators.review import FreezePackageOperator

        with services.session() as session:
            versions = {version.id: version for version in session.scalars(select(Version))}
            lost, kept = sorted(versions)
            batch = Batch(source="inbox", location="drops/again", sent_by="northlight")
            newer = Version(
                asset_id=versions[lost].asset_id, number=versions[lost].number + 1, batch=batch, filename="a.jpg",
                sha256="a" * 64, bytes=9, media_type="image/jpeg", storage_uri="vault:none", made_by="dario",
            )  # fmt: skip
            session.add(batch)
            world.bring_to(session, newer, "ingested")
            given = {"batch_id": batch.id, "version_ids": [newer.id]}
        context = run()
        assert FreezePackageOperator(task_id="f", **given).execute(context) != seat[1]
        [pushed] = context["emitted"]
        assert pushed["key"] == "displaced"
        assert packages.versions(services, package_id=pushed["value"][0]) == [kept]

    def test_what_waits_for_changes_to_the_rest_is_not_told_before(self, run, services, seat):
        from dam.review import seats
        from dam_operators.review import VerdictOperator

        first, second = packages.versions(services, package_id=seat[1])
        with services.session() as session:
            session.execute(text("UPDATE packages SET rest = 'waits'"))
        for row in packages.seats(services, package_id=seat[1]):
            own = {first: {"verdict": "request_changes"}}
            seats.decide(services, seat_id=row["seat_id"], person=row["eligible"][0], verdict="approve", versions=own)
        told = VerdictOperator(task_id="v", package_id=seat[1]).execute(run())
        assert (told["approved"], told["approved_package"], told["changes_package"]) == ([second], "", seat[1])
        packages.let_go(services, package_id=seat[1], person="maya")
        assert VerdictOperator(task_id="v", package_id=seat[1]).execute(run())["approved_package"] == seat[1]


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


class TestDestruction:
    """What is destroyed, and who signed it, comes from the catalogue: not from XCom, not from a task's state."""

    @pytest.fixture
    def version_id(self, services, tmp_path):
        """A refused file whose time in quarantine is over."""
        broken = world.truncated(world.picture(tmp_path, "BROKEN_ACME_20270301_v01.jpg"), 0.5)
        world.ingest(services, world.drop(services, "drops/broken", [broken]))
        with services.session() as session:
            version = session.scalars(select(Version)).one()
            version.state_changed_at = utcnow() - timedelta(days=400)
            return version.id

    @pytest.fixture
    def asked(self, monkeypatch):
        from airflow.providers.standard.operators import hitl

        found = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **kwargs: found.append(kwargs))
        return found

    def due(self, context, today=None):
        from dam_operators.retention import DestructionListOperator

        return DestructionListOperator(task_id="due", today=(today or utcnow().date()).isoformat()).execute(context)

    def ask(self, context):
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SignDestructionOperator

        with pytest.raises(TaskAwaitingInput):
            SignDestructionOperator(task_id="sign").execute(context)
        return SignDestructionOperator(task_id="sign")  # as Airflow resumes it: in another process

    def destroy(self, context):
        from dam_operators.retention import DestroyOperator

        return DestroyOperator(task_id="destroy").execute(context)

    def event(self, person, option):
        return {
            "chosen_options": [option],
            "params_input": {"comment": ""},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": person, "name": person},
        }

    def state(self, services, version_id):
        with services.session() as session:
            return session.get_one(Version, version_id).state

    def test_a_signed_list_is_destroyed_under_the_signers_name(self, run, asked, services, version_id):
        listed = self.due(run())
        assert (listed["due"], listed["held"], listed["rehearsal"]) == (1, 0, False)
        operator = self.ask(run())
        assert asked[0]["assigned_users"] == [{"id": "ada", "name": "ada"}]
        assert listed["sha256"] in asked[0]["body"]
        assert version_id in asked[0]["body"]
        assert operator.execute_complete(run(), self.event("ada", "Destroy")) == "ada"
        [row] = self.destroy(run())
        assert (row["version_id"], self.state(services, version_id)) == (version_id, "destroyed")
        with services.session() as session:
            assert session.scalars(select(DestructionCertificate.signed_by)).one() == "ada"
        assert operator.execute(run()) == "ada"  # cleared, or killed just then: what is signed is not asked again
        assert self.destroy(run()) == [row]

    @pytest.mark.parametrize("answer", ["Keep", None, "nobody"])
    def test_without_a_signature_nothing_is_destroyed(self, run, asked, services, version_id, answer):
        from airflow.sdk.exceptions import AirflowSkipException

        self.due(run())
        operator = self.ask(run())
        if answer == "Keep":
            assert operator.execute_complete(run(), self.event("ada", answer)) is None
        elif answer is None:
            assert operator.execute_complete(run(), {"error": "timed out", "error_type": "timeout"}) is None
        # else the task was marked as done, with whatever XCom
        with pytest.raises(AirflowSkipException, match="not signed"):
            self.destroy(run())
        assert self.state(services, version_id) == "quarantined"

    def test_a_signature_of_one_run_destroys_nothing_in_another(self, run, asked, services, version_id):
        from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

        for name in ("r1", "r2"):
            self.due(run(name))
        self.ask(run("r1")).execute_complete(run("r1"), self.event("ada", "Destroy"))
        with pytest.raises(AirflowSkipException, match="not signed"):
            self.destroy(run("r2"))
        with pytest.raises(AirflowFailException, match="made no destruction list"):
            self.destroy(run("r3"))
        assert self.state(services, version_id) == "quarantined"

    def test_somebody_else_is_refused_and_it_is_asked_again(self, run, asked, services, version_id):
        from airflow.sdk.exceptions import TaskAwaitingInput

        self.due(run())
        with pytest.raises(TaskAwaitingInput):
            self.ask(run()).execute_complete(run(), self.event("maya", "Destroy"))

    def test_a_rehearsal_is_listed_and_nobody_is_asked(self, run, asked, services, version_id):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.human import SignDestructionOperator

        listed = self.due(run(), today=utcnow().date() + timedelta(days=365))
        assert (listed["due"], listed["rehearsal"]) == (1, True)
        with pytest.raises(AirflowSkipException, match="a rehearsal: 1 versions will be due on"):
            SignDestructionOperator(task_id="sign").execute(run())
        assert asked == []


@pytest.mark.parametrize("nothing", ["", None, "None"])
def test_where_nothing_was_approved_nothing_is_planned(run, nothing):
    from airflow.sdk.exceptions import AirflowSkipException

    from dam_operators.activate import RightsPreflightOperator

    with pytest.raises(AirflowSkipException):
        RightsPreflightOperator(task_id="p", package_id=nothing).execute(run())


def test_the_room_knows_the_run_of_a_workflow_of_ones_own(run, services, seat):
    from dam.catalog.claims import owner
    from dam_operators.review import ProofsOperator

    ProofsOperator(task_id="proofs", package_id=seat[1]).execute(run("r7"))
    assert owner(services, stage=packages.STAGE, key=seat[1]) == "d/r7"


@given(versions=st.integers(0, 30) | st.sampled_from([100, 1_024, 1_025, 12_501, 30_000]), channels=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_whatever_a_package_holds_airflow_can_map_it(versions, channels):
    from dam_operators.activate import CHUNK, MOST_CHUNKS, chunks

    rows = [
        {"version_id": f"v{number:05}", "publication_id": f"p{number:05}-{channel}"}
        for channel in range(channels)
        for number in range(versions)
    ]
    made = chunks(rows)
    assert [version for row in made for version in row["version_ids"]] == sorted({row["version_id"] for row in rows})
    assert sorted(one for row in made for one in row["publication_ids"]) == sorted(
        row["publication_id"] for row in rows
    )
    assert len(made) <= MOST_CHUNKS
    assert versions > MOST_CHUNKS * CHUNK or all(len(row["version_ids"]) <= CHUNK for row in made)
    assert len(made) >= min(versions, 3)
    for row in made:  # a version's publications are in its chunk
        assert {one.split("-")[0][1:] for one in row["publication_ids"]} == {one[1:] for one in row["version_ids"]}


class TestPublish:
    """One task publishes several publications; what becomes of one is nothing to the others."""

    @pytest.fixture
    def publications(self, services, seat):
        from dam.channels import publish

        world.sign_all(services, seat[1])
        plan = publish.plan(services, package_id=seat[1])
        return [row["publication_id"] for row in plan["publications"]]

    def operator(self, publications):
        from dam_operators.activate import PublishOperator

        return PublishOperator(task_id="publish", publication_ids=publications)

    @pytest.fixture
    def fates(self, monkeypatch):
        """Let publications fail as told, ``{id: error or status}``, and note who was tried."""
        from dam.channels import publish

        told, tried = {}, []

        def one(services, *, publication_id, run, whole):
            tried.append(publication_id)
            fate = told.get(publication_id, "live")
            if isinstance(fate, Exception):
                raise fate
            return {"publication_id": publication_id, "status": fate, "starts_at": "2999-01-01T00:00:00+00:00"}

        monkeypatch.setattr(publish, "publish", one)
        return told, tried

    @pytest.mark.parametrize(
        "first", [Refused("no rights"), ChannelRefused("no"), ChannelUnavailable("down"), OSError("x")]
    )
    def test_one_that_fails_keeps_no_other_back(self, run, fates, first):
        from airflow.sdk.exceptions import AirflowException, AirflowFailException

        told, tried = fates
        told["a"] = first
        with pytest.raises(AirflowException, match="1 of 3 publications failed") as failed:
            self.operator(["a", "b", "c"]).execute(run())
        assert tried == ["a", "b", "c"]
        assert isinstance(failed.value, AirflowFailException) == isinstance(first, (Refused, ChannelRefused))

    @pytest.mark.parametrize(
        ("error", "try_number", "waits"),
        [(Refused("no"), 1, True), (ChannelUnavailable("down"), 1, False), (ChannelUnavailable("down"), 4, True)],
    )
    def test_an_embargo_is_kept_although_another_failed(self, run, fates, error, try_number, waits):
        from airflow.sdk.exceptions import AirflowException, TaskDeferred

        fates[0].update({"a": error, "b": "scheduled"})
        with pytest.raises(TaskDeferred if waits else AirflowException):
            self.operator(["a", "b"]).execute(run(try_number=try_number))

    def test_the_next_round_of_a_void_approval_is_handed_on(self, run, services, seat, publications):
        from dam.enrich import contracts

        version_id = packages.versions(services, package_id=seat[1])[0]
        contracts.fill(services, version_id=version_id, values={"title": "Another"}, person="libby")
        context = run()
        rows = self.operator(publications).execute(context)
        [following] = {row["next_package_id"] for row in rows}
        assert {row["status"] for row in rows} == {"void"}
        assert context["emitted"] == [{"key": "next_packages", "value": [following]}]
        assert packages.seats(services, package_id=following)[0]["status"] == "open"


class TestAlarms:
    """An alarm stays: it isn't tried away."""

    @pytest.fixture
    def rotten(self, services, tmp_path):
        """Versions, the first of which has other bytes than it had."""
        _, version_ids = world.designers_batch(services, tmp_path)
        with services.session() as session:
            uri = session.get_one(Version, version_ids[0]).storage_uri
        store, key = services.storage.resolve(uri)
        store.put(key, b"rotten")
        return version_ids

    def test_bytes_that_rotted_fail_at_once(self, run, rotten):
        from airflow.sdk.exceptions import AirflowFailException

        from dam_operators.ingest import ChecksumOperator
        from dam_operators.retention import FixityOperator

        for operator in (FixityOperator(task_id="f"), ChecksumOperator(task_id="c", version_ids=rotten)):
            with pytest.raises(AirflowFailException, match=rf"1 versions do not match.*{rotten[0]}"):
                operator.execute(run())

    def test_a_broken_audit_chain_fails_at_once(self, run, services, rotten):
        from airflow.sdk.exceptions import AirflowFailException

        from dam_operators.retention import AuditAnchorOperator

        with services.session() as session:
            session.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
            session.execute(text("UPDATE audit_events SET actor = 'mallory' WHERE seq = 2"))
        with pytest.raises(AirflowFailException, match="audit chain is broken at event 2"):
            AuditAnchorOperator(task_id="a").execute(run())


class TestTriggers:
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("DeliverablesTrigger", {"batch_id": "bat_1", "poll_seconds": 2.0}),
            ("VerdictTrigger", {"package_id": "pkg_1", "poll_seconds": 2.0}),
            ("InboxTrigger", {"poll_seconds": 2.0, "again_seconds": 30.0}),
        ],
    )
    def test_what_is_serialised_makes_the_same_trigger_again(self, name, arguments):
        from dam_operators import triggers

        made = getattr(triggers, name)(**arguments)
        path, kwargs = made.serialize()
        assert (path, kwargs) == (f"dam_operators.triggers.{name}", arguments)
        again = getattr(triggers, path.rsplit(".", 1)[1])(**kwargs)
        assert again.serialize() == (path, kwargs)

    def test_a_drop_whose_run_failed_is_told_again_and_one_that_is_taken_up_is_not(self, services, monkeypatch):
        import asyncio

        from dam.catalog.claims import claim
        from dam.ingest import batches, drops
        from dam_operators import triggers

        class Enough(Exception):
            pass

        def told(*, again_seconds):
            """Return what the trigger tells in four looks."""
            looks, heard = iter(range(4)), []

            def look(_services):
                if next(looks, None) is None:
                    raise Enough
                return discover(services)

            async def listen():
                async for event in triggers.InboxTrigger(poll_seconds=0, again_seconds=again_seconds).run():
                    heard.append(event.payload["locations"])

            monkeypatch.setattr(drops, "discover", look)
            with pytest.raises(Enough):
                asyncio.run(listen())
            return heard

        discover = drops.discover
        monkeypatch.setattr(triggers, "get_services", lambda: services)
        services.storage.inbox.put("drops/x/_COMPLETE", b"")
        assert told(again_seconds=3600) == [["drops/x"]]
        assert told(again_seconds=0) == [["drops/x"]] * 4
        batch_id = batches.register(services, location="drops/x", source="inbox", sent_by="airflow")
        assert told(again_seconds=3600) == [["drops/x"]]
        claim(services, stage="ingest_batch", key=batch_id, run="ingest_batch/r1")
        assert told(again_seconds=0) == []


class TestRegisterDrops:
    @pytest.fixture
    def register(self, run):
        from dam_operators.ingest import RegisterDropsOperator

        return lambda: RegisterDropsOperator(task_id="register").execute(run())

    def test_a_run_that_died_after_registering_is_made_good_by_the_next(self, register, services):
        from dam.ingest import batches

        services.storage.inbox.put("drops/x/_COMPLETE", b"")
        services.storage.inbox.put("drops/partners/y/_COMPLETE", b"")
        x, y = (
            batches.register(services, location=location, source="inbox", sent_by="airflow")
            for location in ("drops/x", "drops/partners/y")
        )
        assert register() == {"default": [x], "partners": [y]}

    def test_late_files_are_a_batch_of_the_same_workflow(self, register, services, tmp_path):
        from dam.catalog.claims import claim
        from dam.ingest import batches

        folder = "drops/partners/y"
        first = world.drop(services, folder, [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")])
        claim(services, stage="partner_drop", key=first, run="partner_drop/r1")
        world.ingest(services, first)
        batches.close(services, batch_id=first)
        services.storage.inbox.put(f"{folder}/B.jpg", world.picture(tmp_path, "B.jpg", seed=2))
        world.limit(services, quiet_seconds=0)
        [second] = register()["partners"]
        assert second != first
        assert world.ingest(services, second) == {"ingested": 1}

    def test_what_is_released_after_its_batch_was_closed_goes_to_review_by_a_run_of_its_own(
        self, register, run, services, tmp_path
    ):
        from airflow.sdk.exceptions import AirflowSkipException

        from clamd import clamd
        from dam.ingest import local
        from dam.ingest.scanner import Scanner
        from dam_operators.base import ClaimOperator
        from dam_operators.ingest import (
            CloseBatchOperator,
            IngestChunkOperator,
            MetadataContractOperator,
            PlanBatchOperator,
        )
        from dam_operators.review import FreezePackageOperator

        def worked(run_id):
            key = ClaimOperator(task_id="claim", key=batch_id, take_over=False, drop="partners").execute(run(run_id))
            chunks = PlanBatchOperator(task_id="plan", batch_id=key).execute(run(run_id))
            for chunk in chunks:
                IngestChunkOperator(task_id="chunk", batch_id=key, file_ids=chunk).execute(run(run_id))
            checked = MetadataContractOperator(task_id="contract", batch_id=key).execute(run(run_id))
            CloseBatchOperator(task_id="close", batch_id=key).execute(run(run_id))
            return checked

        world.limit(services, unscanned="block", settle_seconds=0)
        services.__dict__["scanner"] = Scanner(f"unix:{tmp_path}/clamd.ctl")
        batch_id = world.drop(services, "drops/partners/y", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")])
        assert worked("r1") == {"complete": [], "incomplete": {}}
        assert register() == {"default": [], "partners": []}
        with clamd(tmp_path / "clamd.ctl"):
            assert local.rescan(services) == {"ingested": 1}
        assert register() == register() == {"default": [], "partners": [batch_id]}
        [version_id] = worked("r2")["complete"]
        freeze = FreezePackageOperator(task_id="freeze", batch_id=batch_id, version_ids=[version_id])
        assert freeze.execute(run("r2")) == freeze.execute(run("r2"))
        with pytest.raises(AirflowSkipException, match="belongs to d/r2"):
            worked("r3")
        assert register() == {"default": [], "partners": []}

    def test_one_that_can_not_be_registered_stops_no_other(self, register, services, monkeypatch):
        from dam.errors import BadInput
        from dam.ingest import batches

        for name in "ab":
            services.storage.inbox.put(f"drops/{name}/_COMPLETE", b"")
        known = batches.register

        def fails(services, *, location, **more):
            if location == "drops/a":
                raise BadInput("is no use")
            return known(services, location=location, **more)

        monkeypatch.setattr(batches, "register", fails)
        assert [len(told) for told in register().values()] == [1, 0]


class TestRefusedDeliverables:
    def test_they_are_announced_and_their_tasks_opened_again(self, run, services, tmp_path):
        from dam.create import deliverables
        from dam_operators.create import OpenCreatorTasksOperator
        from dam_operators.ingest import RefusedDeliverablesOperator

        opened = deliverables.open_tasks(services, brief_id=world.signed_brief(services))
        for name in ("HERO-A", "HERO-B"):
            path = f"{opened['location']}/SPRING27-{name}_ACME_20270301_v01.jpg"
            services.storage.inbox.put(path, b"" if name == "HERO-A" else world.png_bytes((90, 90)))
        deliverables.submit(services, batch_id=opened["batch_id"])
        world.ingest(services, opened["batch_id"])
        operator = RefusedDeliverablesOperator(task_id="refused", batch_id=opened["batch_id"])
        assert operator.execute(run()) == opened["batch_id"]
        again = OpenCreatorTasksOperator(task_id="open", key=opened["batch_id"]).execute(run())
        state = deliverables.arrived(services, batch_id=again)
        assert state["missing"] == ["SPRING27-HERO-A_ACME_…_v01"]

    def test_nothing_is_announced_when_all_were_taken(self, run, services, tmp_path):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.ingest import RefusedDeliverablesOperator

        batch_id, _ = world.designers_batch(services, tmp_path)
        with pytest.raises(AirflowSkipException):
            RefusedDeliverablesOperator(task_id="refused", batch_id=batch_id).execute(run())


class TestMail:
    """Who is asked is mailed."""

    @pytest.fixture
    def asked(self, monkeypatch):
        from airflow.providers.standard.operators import hitl

        found = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **kwargs: found.append(kwargs))
        return found

    def ask(self, context, services, tmp_path):
        """Freeze a destruction list of one file that was refused long ago, and ask for its signature."""
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SignDestructionOperator
        from dam_operators.retention import DestructionListOperator

        broken = world.truncated(world.picture(tmp_path, "BROKEN_ACME_20270301_v01.jpg"), 0.5)
        world.ingest(services, world.drop(services, "drops/broken", [broken]))
        with services.session() as session:
            version = session.scalars(select(Version)).one()
            version.state_changed_at = utcnow() - timedelta(days=400)
            version_id = version.id
        DestructionListOperator(task_id="due", today=utcnow().date().isoformat()).execute(context)
        with pytest.raises(TaskAwaitingInput):
            SignDestructionOperator(task_id="sign").execute(context)
        return version_id

    def test_the_dam_admin_is_mailed_about_a_destruction_list(self, run, asked, services, tmp_path, monkeypatch):
        from dam import mail

        sent = []
        monkeypatch.setattr(mail, "send", lambda services, **told: sent.append(told))
        version_id = self.ask(run(), services, tmp_path)
        [told] = sent
        assert (told["to"], told["template"]) == (["ada@acme.example"], "destruction_to_sign")
        assert version_id in told["context"]["body"]

    def test_a_mail_server_that_is_down_keeps_no_question_back(self, run, asked, services, tmp_path):
        services.settings = replace(services.settings, smtp_url="smtp://127.0.0.1:9")
        self.ask(run(), services, tmp_path)
        assert len(asked) == 1


class TestDeliverables:
    """Creators have the stage's time, and in any case until the last deliverable is due."""

    @pytest.fixture
    def opened(self, services):
        """A batch whose deliverables were asked for and are due so many days ago."""
        from dam.create import deliverables

        batch_id = deliverables.open_tasks(services, brief_id=world.signed_brief(services))["batch_id"]

        def make(asked, due):
            with services.session() as session:
                session.get_one(Batch, batch_id).received_at = datetime.now(UTC) - timedelta(days=asked)
                for task in session.query(CreatorTask):
                    task.due_on = world.TODAY - timedelta(days=due)
            return batch_id

        return make

    @pytest.mark.parametrize(("asked", "due", "left"), [(4, 30, 10), (0, 30, 14), (30, -20, 20)])
    def test_it_waits_for_what_is_left(self, run, opened, asked, due, left):
        from airflow.sdk.exceptions import TaskDeferred

        from dam_operators.create import DeliverablesSensor

        with pytest.raises(TaskDeferred) as waits:
            DeliverablesSensor(task_id="s", batch_id=opened(asked, due)).execute(run())
        assert abs(waits.value.timeout - timedelta(days=left)) <= timedelta(days=1)

    def test_a_later_brief_ends_the_run_of_the_one_before(self, run, services, monkeypatch):
        import asyncio

        from airflow.sdk.exceptions import AirflowSkipException

        from dam.create import deliverables
        from dam_operators import triggers
        from dam_operators.create import DeliverablesSensor, OpenCreatorTasksOperator, SubmitDeliverablesOperator

        brief_id = world.signed_brief(services)
        batch_id = deliverables.open_tasks(services, brief_id=brief_id)["batch_id"]
        world.signed_brief(services, budget=50000)
        monkeypatch.setattr(triggers, "get_services", lambda: services)
        waiting = triggers.DeliverablesTrigger(batch_id=batch_id, poll_seconds=0.01)
        event = asyncio.run(anext(waiting.run())).payload
        sensor = DeliverablesSensor(task_id="s", batch_id=batch_id)
        for work in (
            lambda: sensor.execute_complete(run(), event),
            lambda: sensor.execute(run()),
            lambda: SubmitDeliverablesOperator(task_id="t", batch_id=batch_id).execute(run()),
            lambda: OpenCreatorTasksOperator(task_id="o", key=brief_id).execute(run()),
        ):
            with pytest.raises(AirflowSkipException):
                work()

    def test_after_the_deadline_it_says_what_to_do(self, run, opened):
        from airflow.sdk.exceptions import AirflowSensorTimeout

        from dam_operators.create import DeliverablesSensor

        with pytest.raises(AirflowSensorTimeout, match=r"HERO-A_ACME.*is missing.*clear this task"):
            DeliverablesSensor(task_id="s", batch_id=opened(20, 2)).execute(run())


def test_changes_of_what_no_creator_of_ours_made_skip_their_run(run, services, tmp_path):
    """A supplier's drop answers no deliverable: the run says so and is not red."""
    from airflow.sdk.exceptions import AirflowSkipException

    from dam_operators.create import OpenCreatorTasksOperator

    path = world.picture(tmp_path, "CUP_ACME_20270301_v01.jpg")
    batch_id = world.drop(services, "drops/a", [path])
    world.ingest(services, batch_id)
    with services.session() as session:
        versions = list(session.scalars(select(Version.id)))
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=versions)
    world.sign_all(services, package_id, "request_changes")
    with pytest.raises(AirflowSkipException, match="Ask the supplier for a new drop"):
        OpenCreatorTasksOperator(task_id="o", key=package_id).execute(run())


def test_bad_input_fails_at_once_and_plainly(run):
    from airflow.sdk.exceptions import AirflowFailException

    from dam_operators.create import OpenCreatorTasksOperator

    with pytest.raises(AirflowFailException, match="there is no such brief"):
        OpenCreatorTasksOperator(task_id="t", key="brf_nothing").execute(run())


class TestCompleting:
    """What a batch lacks is asked for by a seat, and handed on by the task after it."""

    @pytest.fixture
    def asked(self, monkeypatch):
        from airflow.providers.standard.operators import hitl

        found = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **kwargs: found.append(kwargs))
        return found

    def freeze(self, run, services, tmp_path, files):
        """Take files through the gate and freeze what is incomplete, as the DAG does; return package and seat."""
        from dam_operators.ingest import MetadataContractOperator
        from dam_operators.review import FreezePackageOperator, ProofsOperator

        batch_id = world.drop(services, "drops/a", files)
        world.ingest(services, batch_id)
        incomplete = MetadataContractOperator(task_id="contract", batch_id=batch_id).work(run())["incomplete"]
        operator = FreezePackageOperator(
            task_id="freeze", batch_id=batch_id, version_ids=incomplete, purpose="metadata"
        )
        package_id = operator.execute(run())
        assert operator.execute(run()) == package_id
        [seat_id] = ProofsOperator(task_id="proofs", package_id=package_id).execute(run())
        return package_id, seat_id

    def ask(self, seat_id, context):
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam_operators.human import SeatOperator

        operator = SeatOperator(task_id="librarian", seat_id=seat_id)
        with pytest.raises(TaskAwaitingInput):
            operator.execute(context)
        return operator

    def answer(self, option, person="libby"):
        return {
            "chosen_options": [option],
            "params_input": {"comment": ""},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": person, "name": person},
        }

    def completed(self, run, package_id):
        from dam_operators.review import CompletedOperator

        return CompletedOperator(task_id="completed", package_id=package_id).execute(run())

    def test_nothing_incomplete_is_skipped(self, run):
        from airflow.sdk.exceptions import AirflowSkipException

        from dam_operators.review import FreezePackageOperator

        with pytest.raises(AirflowSkipException, match="no version is incomplete"):
            FreezePackageOperator(task_id="f", batch_id="b", version_ids={}, purpose="metadata").execute(run())

    def test_the_question_says_what_each_file_lacks_in_the_words_of_this_work(self, run, asked, services, tmp_path):
        path = world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", xmp={}, size=(400, 300))
        package_id, seat_id = self.freeze(run, services, tmp_path, [path])
        self.ask(seat_id, run())
        [question] = asked
        assert question["subject"] == "Fill in 1 version of drops/a"
        assert question["options"] == ["Done", "Leave the rest out"]
        assert list(question["params"]) == ["comment"]
        assert "**BARE_ACME** v1: Title is missing." in question["body"]
        assert "Width is 400, less than 1200." in question["body"]
        assert f"{services.settings.web_url}/dam/packages/{package_id}" in question["body"]
        with services.session() as session:
            batch_id = session.scalars(select(Version.batch_id)).one()
        assert f"[Fill in many at once]({services.settings.web_url}/dam/librarian/{batch_id})" in question["body"]

    def test_done_is_asked_again_while_something_is_missing_and_then_hands_on(self, run, asked, services, tmp_path):
        from airflow.sdk.exceptions import TaskAwaitingInput

        from dam.enrich import contracts

        path = world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", xmp={})
        package_id, seat_id = self.freeze(run, services, tmp_path, [path])
        operator = self.ask(seat_id, run())
        with pytest.raises(TaskAwaitingInput):
            operator.execute_complete(run(), self.answer("Done"))
        assert self.completed(run, package_id)["completed"] == []
        [version_id] = packages.versions(services, package_id=package_id)
        contracts.fill(services, version_id=version_id, values=world.WHOLE, person="libby")
        assert operator.execute_complete(run(), self.answer("Done")) == "approve"
        told = self.completed(run, package_id)
        assert (told["completed"], told["next_package"]) == ([version_id], "")

    def test_leave_the_rest_out_takes_no_reason(self, run, asked, services, tmp_path):
        path = world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", xmp={})
        package_id, seat_id = self.freeze(run, services, tmp_path, [path])
        operator = self.ask(seat_id, run())
        assert operator.execute_complete(run(), self.answer("Leave the rest out")) == "reject"
        assert self.completed(run, package_id)["completed"] == []

    def test_where_no_run_of_the_batch_is_left_the_review_is_told(self, run, asked, services, tmp_path):
        """The run was deleted; ``review_package`` draws the verdict, and the completed versions go to their review."""
        from dam.enrich import contracts
        from dam.review import seats
        from dam_operators.review import VerdictOperator

        path = world.picture(tmp_path, "BARE_ACME_20270301_v01.jpg", xmp={})
        package_id, seat_id = self.freeze(run, services, tmp_path, [path])
        [version_id] = packages.versions(services, package_id=package_id)
        contracts.fill(services, version_id=version_id, values=world.WHOLE, person="libby")
        seats.decide(services, seat_id=seat_id, person="libby", verdict="approve")
        told = VerdictOperator(task_id="verdict", package_id=package_id).execute(run())
        [release] = told["next_package"]
        assert told["approved_package"] == ""
        assert packages.verdict(services, package_id=release)["purpose"] == "release"
        assert packages.versions(services, package_id=release) == [version_id]
        again = VerdictOperator(task_id="verdict", package_id=package_id).execute(run())
        assert again["next_package"] == [release]

    def test_a_version_that_was_merged_away_meanwhile_is_not_sent_to_review(self, run, asked, services, tmp_path):
        """The librarian merges a bare copy instead of filling it in; "Done" then lets through only what is left."""
        import shutil

        import pyexiv2

        from dam.ingest import merges

        whole = world.picture(tmp_path, "A_ACME_20270301_v01.jpg")
        bare = tmp_path / "B_ACME_20270301_v01.jpg"
        shutil.copy(whole, bare)
        with pyexiv2.Image(str(bare)) as opened:
            opened.clear_xmp()
        package_id, seat_id = self.freeze(run, services, tmp_path, [whole, bare])
        [drop] = packages.versions(services, package_id=package_id)
        with services.session() as session:
            keep = session.scalars(select(Version.id).where(Version.id != drop)).one()
        merges.merge(services, keep=keep, drop=drop, person="libby")
        operator = self.ask(seat_id, run())
        assert operator.execute_complete(run(), self.answer("Done")) == "approve"
        assert self.completed(run, package_id)["completed"] == []


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
