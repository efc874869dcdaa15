"""Operations on a review's run (clear, pause, delete, start again, mark) and a guest's signature, in a live Airflow.

The packages are made by the library; everything else is done by logged-in people over HTTP, under a real scheduler.
"""

from __future__ import annotations

import email
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from sqlalchemy import select

import world
from dam.catalog import session as catalog
from dam.catalog.models import Decision, Publication, Seat
from dam.create import deliverables
from dam.enrich import contracts
from dam.review import packages
from dam.services import Services
from dam.settings import PROJECT, Settings
from e2e.conftest import airflow_port, free_port
from runtime.client import DONE, Person, wait_for
from runtime.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DAG = "review_package"
ACTIVATION = "activate_package"
#: The seats by their place; each has two people who may sign it.
BRAND, LEGAL = 0, 1
#: A package for each test, of one picture and two seats.
PACKAGES = ("cleared", "paused", "deleted", "again", "marked", "guest", "in turn", "together")
GUEST = "carla@client.example"
#: How a seat's task ends that was answered. One that was answered while Airflow was busy parking it may be tried again,
#: and is skipped then where the answer is recorded already.
ENDED = frozenset({"success", "skipped"})
OPTION = {"approve": "Approve", "request_changes": "Request changes"}


class Reviews:
    """A live Airflow whose packages wait for signatures, and the people who work on them."""

    def __init__(self, stack: Stack, library: Services) -> None:
        self.stack = stack
        self.library = library
        passwords = stack.passwords()
        self.ada, self.maya, self.bea, self.diego, self.lena, self.momo = (
            Person(stack.url, name, passwords[name]) for name in ("ada", "maya", "bea", "diego", "lena", "momo")
        )
        self.package: dict[str, str] = {}
        self.first_run: dict[str, str] = {}

    # ------------------------------------------------------------------------------------ what Airflow says

    def task(self, run_id: str, task_id: str, index: int = -1) -> dict[str, Any]:
        """Return a task instance; empty for one that is not there yet."""
        rows = self.ada.tasks(DAG, run_id)
        return next((row for row in rows if (row["task_id"], row["map_index"]) == (task_id, index)), {})

    def reaches(self, run_id: str, task_id: str, *states: str, index: int = -1) -> dict[str, Any]:
        """Wait until a task is in one of these states."""

        def look() -> dict[str, Any] | None:
            task = self.task(run_id, task_id, index)
            return task if task.get("state") in states else None

        return wait_for(f"{run_id} {task_id}[{index}] being {' or '.join(states)}", look)

    def asks(self, run_id: str) -> None:
        """Wait until both seats of a run ask."""
        for index in (BRAND, LEGAL):
            self.reaches(run_id, "seat", "awaiting_input", index=index)

    def states(self, run_id: str) -> dict[str, str]:
        """Wait for a run's success and return its tasks' states; a mapped one is ``seat.0``."""
        self.ada.finished(DAG, run_id)
        rows = self.ada.tasks(DAG, run_id)
        named = {f"{row['task_id']}.{row['map_index']}".removesuffix(".-1"): row["state"] for row in rows}
        return {name: str(state) for name, state in named.items()}

    def question(self, run_id: str, index: int) -> dict[str, Any]:
        """Return a seat's question as Airflow has it, with its answer."""
        reply = self.ada.http.get(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/seat/{index}/hitlDetails")
        reply.raise_for_status()
        return dict(reply.json())

    def asks_until(self, run_id: str, index: int) -> datetime:
        """Return until when Airflow waits for an answer."""
        with psycopg.connect(self.stack.start_database().replace("/postgres?", "/airflow?")) as connection:
            row = connection.execute(
                "SELECT trigger_timeout FROM task_instance"
                " WHERE dag_id = %s AND run_id = %s AND task_id = 'seat' AND map_index = %s",
                [DAG, run_id, index],
            ).fetchone()
        assert row is not None
        return row[0].astimezone(UTC)

    def runs_for(self, dag_id: str, package_id: str) -> list[dict[str, Any]]:
        """Return the runs that were started for a package, by an event or by somebody."""
        return [
            run for run in self.ada.runs(dag_id) if package_id in (run["partition_key"], (run["conf"] or {}).get("key"))
        ]

    def next_run(self, package_id: str, *known: str) -> str:
        """Wait for a run of the review beside the known ones, and return its id."""

        def look() -> str | None:
            runs = [str(run["dag_run_id"]) for run in self.runs_for(DAG, package_id)]
            return next((run_id for run_id in runs if run_id not in known), None)

        return wait_for(f"another run for {package_id}", look)

    # ---------------------------------------------------------------------------------- what people do there

    def start(self, name: str, **conf: Any) -> str:
        """Start the review of a package by hand, and return the run's id."""
        return self.ada.trigger(DAG, {"key": self.package[name], **conf})

    def clear(self, run_id: str, *tasks: str | list[Any]) -> None:
        """Clear tasks, and what comes after them, as Airflow's page does."""
        body = {"dry_run": False, "only_failed": False, "include_downstream": True, "dag_run_id": run_id}
        reply = self.ada.http.post(f"/api/v2/dags/{DAG}/clearTaskInstances", json=body | {"task_ids": list(tasks)})
        assert reply.status_code == 200, reply.text

    def clear_run(self, run_id: str) -> None:
        """Clear a whole run."""
        body = {"dry_run": False, "only_failed": False}
        reply = self.ada.http.post(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/clear", json=body)
        assert reply.status_code == 200, reply.text

    def patch(self, path: str, **body: Any) -> None:
        """Change something of the DAG."""
        reply = self.ada.http.patch(f"/api/v2/dags/{DAG}{path}", json=body)
        assert reply.status_code == 200, reply.text

    def required_actions(self, who: Person, run_id: str, index: int, option: str, comment: str = "") -> httpx.Response:
        """Answer a seat on Airflow's own API, as its page Required Actions does."""
        values = {"comment": comment, "conditions": "", "versions": ""}
        return who.http.patch(
            f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/seat/{index}/hitlDetails",
            json={"chosen_options": [option], "params_input": values},
        )

    # ------------------------------------------------------------------------------------ what the room says

    def seats(self, name: str) -> list[dict[str, Any]]:
        """Return a package's seats as they stand."""
        return packages.seats(self.library, package_id=self.package[name])

    def in_room(
        self, who: Person, name: str, index: int, verdict: str = "approve", comment: str = ""
    ) -> httpx.Response:
        """Sign a seat in the review room."""
        seat_id = self.seats(name)[index]["seat_id"]
        return who.http.post(f"/dam/api/seats/{seat_id}/decision", json={"verdict": verdict, "comment": comment})

    def signed(self, name: str) -> list[tuple[str, str, str]]:
        """Return the signatures on a package: person, verdict, and where it was given, in order of their times."""
        with self.library.session() as session:
            rows = session.scalars(
                select(Decision).where(Decision.package_id == self.package[name]).order_by(Decision.decided_at)
            )
            return [(row.person, row.verdict, row.via) for row in rows]

    def status(self, name: str) -> str | None:
        """Return a package's verdict."""
        return packages.verdict(self.library, package_id=self.package[name])["status"]

    def due(self, name: str, index: int, at: datetime) -> None:
        """Move a seat's deadline."""
        with self.library.session() as session:
            session.get_one(Seat, self.seats(name)[index]["seat_id"]).due_at = at


@pytest.fixture(scope="module")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's include folder, with two people for each seat and a legal seat that is open to externals."""
    folder = tmp_path_factory.mktemp("live") / "include"
    shutil.copytree(PROJECT / "include", folder)
    file = folder / "templates" / "workflow.yaml"
    workflow = yaml.safe_load(file.read_text())
    workflow["people"]["diego"]["roles"].append("brand_reviewer")
    workflow["people"]["momo"]["roles"].append("legal_reviewer")
    next(seat for seat in workflow["seats"] if seat["role"] == "legal_reviewer")["external"] = True
    file.write_text(yaml.safe_dump(workflow, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def reviews(include: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviews]:
    """A stack with review and activation alone, in which every package's review has begun."""
    state = Path(tempfile.mkdtemp(prefix="dam-live-"))
    state.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    (dags := state / "dags").mkdir()
    for dag_id in (DAG, ACTIVATION):
        shutil.copy(PROJECT / "dags" / f"{dag_id}.py", dags)
    stack = Stack(
        state=state, port=airflow_port(), origin_port=free_port(), smtp_port=free_port(), dags=dags,
        extra_env={"DAM_SCHEDULES": "off", "DAM_INCLUDE": str(include)},
    )  # fmt: skip
    try:
        env = stack.env(stack.start_database())
        catalog.upgrade(env["DAM_CATALOG_URL"])
        library = Services(Settings.from_env(environ=env))
        with ThreadPoolExecutor() as beside:
            starting = beside.submit(stack.start, say=print)
            frozen = freeze(library, tmp_path_factory.mktemp("pictures"))
            starting.result()
        made = Reviews(stack, library)
        made.package = frozen
        made.first_run = {name: made.start(name) for name in PACKAGES}
        yield made
        library.engine.dispose()
    finally:
        stack.stop()
        shutil.rmtree(state, ignore_errors=True)


def freeze(library: Services, folder: Path) -> dict[str, str]:
    """Take a designer's pictures through create and ingest, and freeze each as a package; return their ids by name."""
    world.limit(library, settle_seconds=0)  # the files are whole
    card = world.form()["deliverables"][0]
    names = {name: f"LIVE-{number:02}" for number, name in enumerate(PACKAGES, start=1)}
    asked = [card | {"project": project, "title": f"Picture {project}"} for project in names.values()]
    opened = deliverables.open_tasks(library, brief_id=world.signed_brief(library, deliverables=asked))
    batch_id = opened["batch_id"]
    for seed, project in enumerate(names.values(), start=1):
        path = world.picture(folder, f"SPRING27-{project}_ACME_20270301_v01.jpg", seed=seed)
        library.storage.inbox.put(f"{opened['location']}/{path.name}", path)
    deliverables.submit(library, batch_id=batch_id)
    world.ingest(library, batch_id)
    complete = contracts.check(library, batch_id=batch_id).complete
    assert len(complete) == len(PACKAGES)
    return {
        name: packages.freeze(library, batch_id=batch_id, version_ids=[version_id], channels=["web"])
        for name, version_id in zip(PACKAGES, complete, strict=True)
    }


# ------------------------------------------------------------------------------------------------------ clear


def test_what_is_cleared_comes_to_the_same(reviews: Reviews) -> None:
    run_id = reviews.first_run["cleared"]
    reviews.asks(run_id)
    assert reviews.in_room(reviews.bea, "cleared", BRAND).status_code == 200
    reviews.reaches(run_id, "seat", *ENDED, index=BRAND)
    soon = datetime.now(UTC) + timedelta(hours=2)
    assert reviews.asks_until(run_id, LEGAL) > soon + timedelta(hours=1)
    reviews.due("cleared", LEGAL, soon)

    # a signed seat is skipped, an open one asks again for what is left of its time
    reviews.clear(run_id, ["seat", BRAND], ["seat", LEGAL])
    reviews.reaches(run_id, "seat", "skipped", index=BRAND)
    asked = reviews.reaches(run_id, "seat", "awaiting_input", index=LEGAL)
    assert asked["try_number"] > 1
    assert reviews.asks_until(run_id, LEGAL) < soon + timedelta(minutes=5)
    assert datetime.fromisoformat(reviews.seats("cleared")[LEGAL]["due_at"]) == soon
    assert reviews.required_actions(reviews.lena, run_id, LEGAL, "Approve").status_code == 200
    assert reviews.states(run_id)["approved"] == "success"
    signed = reviews.signed("cleared")
    assert signed == [("bea", "approve", "room"), ("lena", "approve", "airflow")]
    verdict = reviews.ada.result(DAG, run_id, "verdict")
    assert verdict["status"] == "approved"
    activation = reviews.ada.run_of(ACTIVATION, reviews.package["cleared"])
    reviews.ada.finished(ACTIVATION, activation)

    # the verdict and the whole run, once all have signed
    clearing: list[Callable[[], None]] = [
        lambda: reviews.clear(run_id, "verdict"),
        lambda: reviews.clear_run(run_id),
    ]
    for told, clear in enumerate(clearing, start=2):
        clear()
        states = reviews.states(run_id)
        assert (states["verdict"], states["approved"]) == ("success", "success")
        assert reviews.ada.result(DAG, run_id, "verdict") == verdict
        assert reviews.signed("cleared") == signed
        only_one_activates(reviews, "cleared", told)
    assert (states["seat.0"], states["seat.1"]) == ("skipped", "skipped")


def only_one_activates(reviews: Reviews, name: str, told: int) -> None:
    """See that of all runs that a package's announcements started, one took it and the others ended at once."""
    package_id = reviews.package[name]

    def look() -> list[dict[str, Any]] | None:
        runs = reviews.runs_for(ACTIVATION, package_id)
        over = all(run["state"] in DONE for run in runs)
        return runs if over and len(runs) == told else None

    runs = wait_for(f"{told} runs that were told of {package_id}", look)
    claims = []
    for run in runs:
        tasks = reviews.ada.tasks(ACTIVATION, run["dag_run_id"])
        claims += [task["state"] for task in tasks if task["task_id"] == "claim"]
    assert sorted(claims) == ["skipped"] * (told - 1) + ["success"]
    with reviews.library.session() as session:
        rows = session.scalars(
            select(Publication).where(
                Publication.version_id.in_(packages.versions(reviews.library, package_id=package_id))
            )
        ).all()
        assert [(row.channel, row.status) for row in rows] == [("web", "live")]


# ------------------------------------------------------------------------------------------------------ pause


def test_while_the_dag_is_paused_the_room_records_at_once_and_airflow_hears_later(reviews: Reviews) -> None:
    run_id = reviews.first_run["paused"]
    reviews.asks(run_id)
    reviews.patch("", is_paused=True)
    try:
        assert reviews.in_room(reviews.bea, "paused", BRAND).status_code == 200
        assert reviews.signed("paused") == [("bea", "approve", "room")]
        told = "The cup is cut off."
        assert reviews.required_actions(reviews.lena, run_id, LEGAL, "Request changes", told).status_code == 200
        given = datetime.fromisoformat(reviews.question(run_id, LEGAL)["responded_at"])
        scheduler_looks(reviews)
        assert [reviews.task(run_id, "seat", index)["state"] for index in (BRAND, LEGAL)] == ["scheduled"] * 2
        assert [seat["status"] for seat in reviews.seats("paused")] == ["signed", "open"]
        reviews.due("paused", LEGAL, given + timedelta(milliseconds=1))  # it passes before the answer is heard
        reviews.clear(run_id, ["seat", LEGAL])  # which loses nothing: the task is tried again, and hears it then
    finally:
        reviews.patch("", is_paused=False)
    states = reviews.states(run_id)
    assert {states["seat.0"], states["seat.1"]} <= ENDED
    assert states["changes_requested"] == "success"
    assert reviews.signed("paused") == [("bea", "approve", "room"), ("lena", "request_changes", "airflow")]
    [signature] = reviews.seats("paused")[LEGAL]["signatures"]
    assert datetime.fromisoformat(signature["at"]) == given
    assert reviews.status("paused") == "changes_requested"


def scheduler_looks(reviews: Reviews) -> None:
    """Wait until the scheduler has gone round twice from now."""

    def beat() -> str:
        return str(reviews.ada.http.get("/api/v2/monitor/health").json()["scheduler"]["latest_scheduler_heartbeat"])

    for _ in range(2):
        before = beat()
        wait_for("the scheduler's next round", lambda before=before: beat() != before or None)


# ----------------------------------------------------------------------------------------------------- delete


def test_a_run_that_is_deleted_takes_no_signature_with_it(reviews: Reviews) -> None:
    run_id = reviews.first_run["deleted"]
    reviews.asks(run_id)
    assert reviews.required_actions(reviews.bea, run_id, BRAND, "Approve").status_code == 200
    reviews.reaches(run_id, "seat", *ENDED, index=BRAND)
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}"
    assert reviews.ada.http.delete(path).status_code == 409  # Airflow deletes what has ended
    reviews.patch(f"/dagRuns/{run_id}", state="failed")
    assert reviews.ada.http.delete(path).status_code == 204
    assert [seat["status"] for seat in reviews.seats("deleted")] == ["signed", "open"]

    reply = reviews.in_room(reviews.lena, "deleted", LEGAL, "request_changes", "The cup is cut off.")
    assert reply.status_code == 200, reply.text
    assert reviews.signed("deleted") == [("bea", "approve", "airflow"), ("lena", "request_changes", "room")]
    following = reviews.next_run(reviews.package["deleted"])
    states = reviews.states(following)
    assert (states["seat.0"], states["seat.1"]) == ("skipped", "skipped")
    assert (states["approved"], states["changes_requested"]) == ("skipped", "success")
    assert reviews.status("deleted") == "changes_requested"


# ------------------------------------------------------------------------------------------------ start again


def test_a_second_run_ends_at_claim_and_with_take_over_goes_on(reviews: Reviews) -> None:
    first = reviews.first_run["again"]
    reviews.asks(first)
    assert set(reviews.states(reviews.start("again")).values()) == {"skipped"}
    assert [seat["status"] for seat in reviews.seats("again")] == ["open", "open"]

    second = reviews.start("again", take_over=True)
    reviews.asks(second)
    # one answers the question that he had open, the other the new one: what counts is the signature
    assert reviews.required_actions(reviews.diego, first, BRAND, "Approve").status_code == 200
    reviews.reaches(first, "seat", *ENDED, index=BRAND)
    reply = reviews.in_room(reviews.lena, "again", LEGAL, "request_changes", "The cup is cut off.")
    assert reply.status_code == 200, reply.text
    signed = [("diego", "approve", "airflow"), ("lena", "request_changes", "room")]
    assert reviews.signed("again") == signed
    states = reviews.states(second)
    assert states["seat.0"] == "skipped"
    assert states["seat.1"] in ENDED
    assert states["changes_requested"] == "success"

    # what the first run still asks adds nothing
    assert reviews.required_actions(reviews.lena, first, LEGAL, "Approve").status_code == 200
    assert reviews.states(first)["verdict"] == "success"
    assert reviews.signed("again") == signed
    assert reviews.ada.result(DAG, first, "verdict") == reviews.ada.result(DAG, second, "verdict")


def test_airflow_offers_no_backfill_for_it(reviews: Reviews) -> None:
    now = datetime.now(UTC)
    body = {"dag_id": DAG, "from_date": (now - timedelta(days=3)).isoformat(), "to_date": now.isoformat()}
    runs = len(reviews.ada.runs(DAG))
    reply = reviews.ada.http.post("/api/v2/backfills", json=body)
    assert reply.status_code == 422, reply.text
    assert "does not support backfills" in reply.text
    assert len(reviews.ada.runs(DAG)) == runs


# ------------------------------------------------------------------------------------------------------- mark


def test_a_seat_that_is_marked_by_hand_is_not_signed(reviews: Reviews) -> None:
    run_id = reviews.first_run["marked"]
    reviews.asks(run_id)
    for index, mark in ((BRAND, "success"), (LEGAL, "failed")):
        reviews.patch(f"/dagRuns/{run_id}/taskInstances/seat/{index}", new_state=mark)
    wait_for(f"the end of {run_id}", lambda: reviews.ada.run(DAG, run_id)["state"] == "failed" or None)
    assert reviews.task(run_id, "approved")["state"] == "upstream_failed"
    assert reviews.signed("marked") == []
    assert [seat["status"] for seat in reviews.seats("marked")] == ["open", "open"]
    assert reviews.status("marked") is None

    assert reviews.in_room(reviews.lena, "marked", LEGAL, "request_changes", "Cut off.").status_code == 200
    assert len(reviews.runs_for(DAG, reviews.package["marked"])) == 1  # the other has yet to sign
    assert reviews.in_room(reviews.bea, "marked", BRAND).status_code == 200
    states = reviews.states(reviews.next_run(reviews.package["marked"], run_id))
    assert states["changes_requested"] == "success"
    assert reviews.status("marked") == "changes_requested"


# ------------------------------------------------------------------------------------------------------ guest


def test_a_guest_signs_on_the_guests_page_and_airflow_hears_it(reviews: Reviews) -> None:
    run_id, package_id = reviews.first_run["guest"], reviews.package["guest"]
    reviews.asks(run_id)
    until = datetime.now(UTC) + timedelta(days=2)
    invited = reviews.maya.http.post(
        f"/dam/api/packages/{package_id}/guests",
        json={"email": GUEST, "name": "Carla Client", "expires_at": until.isoformat(),
              "seat_id": reviews.seats("guest")[LEGAL]["seat_id"]},
    )  # fmt: skip
    assert invited.status_code == 200, invited.text
    link = mailed(reviews, r"(https?://\S+/dam/guest/\S+)")
    with httpx.Client(timeout=60, headers={"X-Requested-With": "dam"}) as browser:
        assert "Carla Client" not in browser.get(link).text
        assert browser.post(f"{link}/verdict", json={"verdict": "approve"}).status_code == 404
        assert browser.post(f"{link}/code").status_code == 200
        entered = browser.post(f"{link}/enter", json={"code": mailed(reviews, r"(?m)^ {4}(\d{4} \d{4})\s*$")})
        assert entered.status_code == 200, entered.text
        assert browser.get(link).status_code == 200
        answer = {"verdict": "request_changes", "comment": "Our logo is too small."}
        signed = browser.post(f"{link}/verdict", json=answer)
        assert signed.status_code == 200, signed.text
    reviews.reaches(run_id, "seat", *ENDED, index=LEGAL)
    question = reviews.question(run_id, LEGAL)
    assert question["responded_by_user"]["name"] == f"guest:{GUEST}"
    assert question["chosen_options"] == ["Request changes"]

    assert reviews.required_actions(reviews.bea, run_id, BRAND, "Approve").status_code == 200
    assert reviews.states(run_id)["changes_requested"] == "success"
    assert [(person, verdict) for person, verdict, _ in reviews.signed("guest")] == [
        (f"guest:{GUEST}", "request_changes"),
        ("bea", "approve"),
    ]
    assert reviews.status("guest") == "changes_requested"
    assert httpx.get(link).status_code == 404  # the link ends with the review


def mailed(reviews: Reviews, pattern: str) -> str:
    """Wait for a mail to the guest in which something stands, and return it."""

    def look() -> str | None:
        for path in sorted((reviews.stack.state / "mail").glob("*.eml"), reverse=True):
            message = email.message_from_bytes(path.read_bytes(), policy=default)
            body = message.get_body(("plain",))
            if message["X-Envelope-To"] == GUEST and body and (found := re.search(pattern, body.get_content())):
                return found[1]
        return None

    return wait_for(f"a mail to {GUEST} with {pattern}", look)


# ------------------------------------------------------------------------------------------- both at one moment


def test_who_answers_where_another_has_already_is_refused(reviews: Reviews) -> None:
    run_id = reviews.first_run["in turn"]
    reviews.asks(run_id)
    assert reviews.in_room(reviews.bea, "in turn", BRAND).status_code == 200
    assert reviews.required_actions(reviews.diego, run_id, BRAND, "Request changes", "No.").status_code == 409
    assert reviews.required_actions(reviews.momo, run_id, LEGAL, "Request changes", "Cut off.").status_code == 200
    assert reviews.in_room(reviews.lena, "in turn", LEGAL).status_code == 409
    agree(reviews, "in turn", {"bea": "approve", "momo": "request_changes"})


def test_of_two_answers_at_one_moment_the_first_counts_in_both_places(reviews: Reviews) -> None:
    run_id = reviews.first_run["together"]
    reviews.asks(run_id)
    doors: dict[str, Callable[[], httpx.Response]] = {
        "bea": lambda: reviews.in_room(reviews.bea, "together", BRAND),
        "diego": lambda: reviews.required_actions(reviews.diego, run_id, BRAND, "Request changes", "Cut off."),
        "lena": lambda: reviews.in_room(reviews.lena, "together", LEGAL, "request_changes", "Cut off."),
        "momo": lambda: reviews.required_actions(reviews.momo, run_id, LEGAL, "Approve"),
    }
    ready = threading.Barrier(len(doors))

    def give(answer: Callable[[], httpx.Response]) -> int:
        ready.wait()
        return answer().status_code

    with ThreadPoolExecutor(len(doors)) as pool:
        told = dict(zip(doors, pool.map(give, doors.values()), strict=True))
    assert sorted([told["bea"], told["diego"]]) == [200, 409]
    assert sorted([told["lena"], told["momo"]]) == [200, 409]
    said = {"bea": "approve", "diego": "request_changes", "lena": "request_changes", "momo": "approve"}
    agree(reviews, "together", {who: said[who] for who, status in told.items() if status == 200})


def agree(reviews: Reviews, name: str, said: dict[str, str]) -> None:
    """See that room and Airflow have the same answers, the brand's and the legal seat's, and the review comes to it."""
    run_id = reviews.first_run[name]
    states = reviews.states(run_id)
    assert {states["seat.0"], states["seat.1"]} <= ENDED
    assert states["verdict"] == "success"
    assert {who: verdict for who, verdict, _ in reviews.signed(name)} == said
    assert len(reviews.signed(name)) == len(said)
    for index, (who, verdict) in enumerate(said.items()):
        question = reviews.question(run_id, index)
        assert question["responded_by_user"]["name"] == who
        assert question["chosen_options"] == [OPTION[verdict]]
    asked = "request_changes" in said.values()
    assert reviews.status(name) == ("changes_requested" if asked else "approved")
    assert len(reviews.runs_for(DAG, reviews.package[name])) == 1
