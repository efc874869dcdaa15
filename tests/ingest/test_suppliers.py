"""Suppliers' scorecards and batch cards: every number from what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import world
from dam.catalog.models import Batch, Deliverable
from dam.enrich import contracts
from dam.errors import NotFound
from dam.ingest import batches, suppliers
from dam.review import packages


def sent(services, tmp_path, name, files, *, supplier="Northlight", month=None, campaign=None):
    """Take a supplier's drop in and hold it to its contract; return batch and complete versions."""
    batch_id = world.drop(services, f"drops/{name}", files, supplier=supplier, campaign_slug=campaign)
    if month:
        with services.session() as session:
            session.get_one(Batch, batch_id).received_at = datetime(2027, month, 15, tzinfo=UTC)
    world.ingest(services, batch_id)
    return batch_id, contracts.check(services, batch_id=batch_id).complete


def test_a_scorecard_counts_what_arrived_what_was_whole_and_what_was_refused(services, tmp_path):
    good = world.picture(tmp_path, "A_ACME_20270301_v01.jpg", seed=1)
    bare = world.picture(tmp_path, "B_ACME_20270301_v01.jpg", seed=2, xmp={})
    bad = world.truncated(world.picture(tmp_path, "C_ACME_20270301_v01.jpg", seed=3), 0.5)
    same = tmp_path / "D_ACME_20270301_v01.jpg"
    same.write_bytes(good.read_bytes())
    sums = tmp_path / "MD5SUMS"
    sums.write_text(f"{'0' * 32}  gone.jpg\n")
    sent(services, tmp_path, "one", [good, bare, bad, same, sums], month=2)
    sent(services, tmp_path, "two", [world.picture(tmp_path, "E_ACME_20270301_v01.jpg", seed=5)], month=3)
    sent(services, tmp_path, "other", [world.picture(tmp_path, "F_ACME_20270301_v01.jpg", seed=6)], supplier="South")
    newest, older = suppliers.by_month(services, supplier="Northlight")
    assert (newest["month"], older["month"]) == ("2027-03", "2027-02")
    counts = {"batches": 1, "files": 4, "missing": 1, "duplicates": 1, "refused": 1, "checked": 2, "complete": 1}
    assert {name: older[name] for name in counts} == counts
    assert (older["refused_share"], older["complete_share"], older["on_time_share"]) == (0.25, 0.5, None)
    north, south = suppliers.overview(services)
    assert (north["supplier"], north["batches"], north["files"], north["refused_share"]) == ("Northlight", 2, 5, 0.2)
    assert (south["supplier"], south["complete_share"]) == ("South", 1)


def test_only_the_first_check_counts(services, tmp_path):
    bare = world.picture(tmp_path, "B_ACME_20270301_v01.jpg", seed=2, xmp={})
    batch_id, complete = sent(services, tmp_path, "one", [bare])
    assert complete == []
    [row] = contracts.missing(services, batch_id=batch_id)
    filled = {"title": "T", "description": "D" * 20, "alt_text": "A", "creator": "C", "copyright_notice": "N",
              "credit_line": "L", "tags": ["coffee"], "licence": "N-1", "holder": "N"}  # fmt: skip
    contracts.fill(services, version_id=row["version_id"], values=filled, person="libby")
    assert contracts.check(services, batch_id=batch_id).complete
    assert suppliers.overview(services)[0]["complete_share"] == 0


@pytest.mark.parametrize(("days", "share"), [(0, 1), (1, 1), (-1, 0)])
def test_on_time_is_by_the_deliverables_due_day(services, tmp_path, days, share):
    world.signed_brief(services)
    with services.session() as session:
        for deliverable in session.query(Deliverable):
            deliverable.due_on = datetime.now(UTC).date() + timedelta(days=days)
    files = [world.picture(tmp_path, "SPRING27-HERO-A_ACME_20270301_v01.jpg")]
    sent(services, tmp_path, "one", files, campaign="spring-2027")
    assert suppliers.overview(services)[0]["on_time_share"] == share


def test_first_time_right_is_what_reviewers_approved_at_once(services, tmp_path):
    files = [world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed) for seed, name in enumerate("AB")]
    batch_id, complete = sent(services, tmp_path, "one", files)
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    wrong = {complete[0]: {"verdict": "request_changes", "comment": "Too dark."}}
    world.sign_all(services, package_id, "approve", **wrong)
    [card] = suppliers.overview(services)
    assert (card["decided"], card["first_time_right"], card["first_time_right_share"]) == (2, 1, 0.5)


def test_a_supplier_of_whom_nothing_came_is_not_known(services):
    with pytest.raises(NotFound):
        suppliers.by_month(services, supplier="Nobody")


def test_a_batchs_card_tells_how_long_it_took(services, tmp_path):
    batch_id = world.drop(services, "drops/x", [world.picture(tmp_path, "A_ACME_20270301_v01.jpg")], supplier="North")
    before = batches.card(services, batch_id=batch_id)
    assert (before["status"], before["seconds"], before["files"]) == ("open", None, 0)
    world.ingest(services, batch_id)
    card = batches.card(services, batch_id=batch_id)
    assert (card["outcomes"], card["supplier"], card["sent_by"]) == ({"ingested": 1}, "North", "northlight")
    assert card["seconds"] > 0
    assert card["files_per_second"] == pytest.approx(1 / card["seconds"])
    with pytest.raises(NotFound):
        batches.card(services, batch_id="bat_none")
