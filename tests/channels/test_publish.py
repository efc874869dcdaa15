"""Plan, publish, probe and withdraw against a real origin and a real CMS."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import Any

import httpx
import pytest

from dam.catalog.models import (
    Asset,
    Batch,
    ContractResult,
    Grant,
    Package,
    PackageVersion,
    Publication,
    Version,
    VersionState,
    utcnow,
)
from dam.channels import deliver, publish, wire
from dam.enrich import contracts
from dam.errors import NotFound, Refused
from dam.retention import archive
from dam.review import packages, seats
from dam.rights import policy
from dam.services import Services
from dam.taxonomy.contracts import Rule
from world import bring_to


def no_wait(seconds: float) -> None:
    """Wait for nothing."""


HTTP = httpx.Client()
WEB = {"webp", "avif", "portrait", "landscape", "square", "thumbnail", "preview"}


def _all(world: Any) -> list[Publication]:
    with world.services.session() as session:
        return list(session.query(Publication))


# -------------------------------------------------------------------------------- the whole way once


def test_web_from_plan_to_takedown(world):
    answer = publish.plan(world.services, package_id=world.package_id, channels=["web"], run="activate/1")
    assert (answer["refused"], answer["void"], answer["next_package_id"]) == ([], False, None)
    [row] = answer["publications"]
    assert (row["version_id"], row["channel"], row["allowed"]) == (world.version_id, "web", True)
    assert row["status"] == "scheduled"
    assert row["explanation"].startswith("Allowed until ")

    live = world.publish(row["publication_id"], run="activate/1")
    assert live["status"] == "live"
    assert live["live_url"] in live["endpoints"]
    publication = world.publication(row["publication_id"])
    assert {endpoint["name"] for endpoint in publication.endpoints} == WEB
    for endpoint in publication.endpoints:
        got = HTTP.get(endpoint["url"])
        assert (got.status_code, hashlib.sha256(got.content).hexdigest()) == (200, endpoint["sha256"])
        assert endpoint["url"].startswith(f"{world.origin.url}/spring-2027/SPRING27-HERO-A_ACME/v01/")
        assert f"-{endpoint['name']}-{endpoint['sha256'][:12]}" in endpoint["url"]
    assert publication.live_url == publication.endpoints[0]["url"]
    assert publication.probed_at is not None
    assert [probe["status"] for probe in publication.receipt["probes"]] == [200] * len(WEB)
    assert world.version().state == VersionState.LIVE

    receipt = world.withdraw(publication.id, run="sweep/1")
    assert (receipt["actor"], receipt["reason"], receipt["channel"]) == ("lena", "a claim", "web")
    assert receipt["agent"].startswith("airflow-dam-probe/")
    assert {probe["url"] for probe in receipt["endpoints"]} == set(live["endpoints"])
    assert all(probe["status"] in (404, 410) and probe["at"] for probe in receipt["endpoints"])
    assert all(HTTP.get(url).status_code in (404, 410) for url in live["endpoints"])
    assert world.files() == []
    assert world.version().state == VersionState.WITHDRAWN
    assert world.publication(publication.id).takedown == receipt
    assert world.withdraw(publication.id, reason="again") == receipt
    assert world.actions(publication.id) == [
        "publication.scheduled",
        "publication.live",
        "publication.withdrawn",
    ]


def test_cms_from_plan_to_takedown(world):
    publication_id = world.planned("cms")
    live = world.publish(publication_id)
    publication = world.publication(publication_id)
    kinds = [endpoint["kind"] for endpoint in publication.endpoints]
    assert kinds == ["file", "file", "file", "entry"]
    assert live["live_url"] == publication.endpoints[-1]["url"]
    assert publication.remote_id
    entry = HTTP.get(live["live_url"], headers={"Accept": "application/json"})
    assert entry.status_code == 200
    assert publication.endpoints[0]["url"] in entry.text
    world.withdraw(publication_id)
    assert all(HTTP.get(url).status_code in (404, 410) for url in live["endpoints"])
    assert world.version().state == VersionState.WITHDRAWN


def test_a_version_stays_live_while_one_channel_has_it(world):
    web, cms = world.planned("web"), world.planned("cms")
    on_web, on_cms = world.publish(web), world.publish(cms)
    world.withdraw(cms)
    assert world.version().state == VersionState.LIVE
    assert all(HTTP.get(url).status_code == 200 for url in on_web["endpoints"])
    assert all(HTTP.get(url).status_code in (404, 410) for url in on_cms["endpoints"])
    world.withdraw(web)
    assert world.version().state == VersionState.WITHDRAWN


# ---------------------------------------------------------------------------------------------- plan


def test_planning_again_answers_the_same(world):
    first = publish.plan(world.services, package_id=world.package_id)
    assert [row["channel"] for row in first["publications"]] == ["web", "cms"]
    assert publish.plan(world.services, package_id=world.package_id) == first
    for row in first["publications"]:
        world.publish(row["publication_id"])
    again = publish.plan(world.services, package_id=world.package_id)
    assert [row["publication_id"] for row in again["publications"]] == [
        row["publication_id"] for row in first["publications"]
    ]
    assert {row["status"] for row in again["publications"]} == {"live"}
    assert len(_all(world)) == 2


def test_the_idempotency_key_names_version_channel_and_package(world):
    keys = {row.channel: row.idempotency_key for row in map(world.publication, [world.planned("web")])}
    expected = publish.idempotency_key(version_id=world.version_id, channel="web", package_id=world.package_id)
    assert keys == {"web": expected}
    assert len(expected) == 64


def test_a_package_keeps_its_channels_through_its_rounds(world):
    with world.services.session() as session:
        session.get_one(Package, world.package_id).channels = ["cms"]
    answer = publish.plan(world.services, package_id=world.package_id)
    assert [row["channel"] for row in answer["publications"]] == ["cms"]
    _retitle(world, "Another")
    world.package_id = publish.plan(world.services, package_id=world.package_id)["next_package_id"]
    rows = policy.ask_package(world.services, package_id=world.package_id)
    assert [row["channel"] for row in rows] == ["cms"]  # what the room shows
    _sign(world)
    world.publish(world.planned(None))
    [publication] = [row for row in _all(world) if row.status == "live"]
    assert publication.channel == "cms"
    world.withdraw(publication.id)
    world.package_id = packages.reopen_withdrawn(world.services, version_id=world.version_id, person="maya")
    _sign(world)
    assert world.publication(world.planned(None)).channel == "cms"


@pytest.mark.parametrize("whole", [True, False])
def test_a_package_is_compared_as_a_whole_once_for_many_publications(world, whole: bool):
    publication_id = world.planned("web")
    with world.services.session() as session:  # a sibling's metadata changes, this version's do not
        entry = session.get_one(Package, world.package_id).entries[0]
        sibling = PackageVersion(
            package_id=world.package_id, version_id=_sibling(session, entry.version), entry_sha256="0" * 64,
            verdict="approve",
        )  # fmt: skip
        session.add(sibling)
    if not whole:
        publish.revalidate(world.services, publication_ids=[publication_id])
    assert world.publish(publication_id, whole=whole)["status"] == "void"


def _sibling(session: Any, version: Version) -> str:
    other = Version(
        asset=Asset(campaign=version.asset.campaign, name="OTHER", kind="image"), number=1, batch=version.batch,
        filename="other.jpg", sha256="1" * 64, bytes=1, media_type="image/jpeg", storage_uri="vault:none",
        made_by="dario",
    )  # fmt: skip
    bring_to(session, other, VersionState.APPROVED)
    return other.id


def test_a_refusal_is_planned_as_a_sentence(world):
    answer = publish.plan(world.services, package_id=world.package_id, channels=["social", "web", "fax"])
    assert [row["channel"] for row in answer["publications"]] == ["web"]
    social, fax = answer["refused"]
    assert social["explanation"] == "There is no channel template named social in include/templates/channels."
    assert fax["publication_id"] is None
    with world.services.session() as session:
        end = session.query(Grant).one().ends_on
    late = datetime.combine(end + timedelta(1), clock.min, UTC)
    [refused] = publish.plan(world.services, package_id=world.package_id, channels=["cms"], now=late)["refused"]
    assert refused["explanation"].startswith("The licence CC-ACME-014 from Northlight ended on ")


NO_ALT_TEXT = "Alt text is missing. Describe it for people who can't see it."


def test_what_lacks_an_alt_text_stays_in_and_its_sibling_goes_out(world):
    found = world.beside(BARE={}, WHOLE={"alt_text": "Blue"})
    answer = publish.plan(world.services, package_id=world.package_id, channels=["web", "cms"])
    assert {row["version_id"] for row in answer["publications"]} == {found["WHOLE"]}
    assert [(row["asset"], row["channel"], row["explanation"]) for row in answer["refused"]] == [
        ("BARE", "web", NO_ALT_TEXT),
        ("BARE", "cms", NO_ALT_TEXT),
    ]
    for row in answer["publications"]:
        assert world.publish(row["publication_id"])["status"] == "live"
    with world.services.session() as session:
        kept = session.query(ContractResult).filter(ContractResult.suite.startswith("activate/image@")).all()
        assert {row.version_id: row.complete for row in kept} == {found["BARE"]: False, found["WHOLE"]: True}
        assert session.query(Publication).filter(Publication.version_id == found["BARE"]).count() == 0

    contracts.fill(world.services, version_id=found["BARE"], values={"alt_text": "Bluer"}, person="libby")
    _reviewed_again(world)
    answer = publish.plan(world.services, package_id=world.package_id, channels=["web"])
    assert answer["refused"] == []
    [bare] = [row for row in answer["publications"] if row["version_id"] == found["BARE"]]
    assert world.publish(bare["publication_id"])["status"] == "live"


def test_a_licence_that_forbids_cutting_keeps_a_picture_off_channels_that_cut_it(world, tmp_path):
    include = tmp_path / "include"
    shutil.copytree(world.services.settings.include, include)
    (include / "templates/channels/gallery.yaml").write_text(
        "name: gallery\ntitle: Gallery\nkind: origin\nrecipes: [webp, thumbnail]\n"
    )
    world.at(include=include)
    found = world.beside(FREE={"alt_text": "Blue"}, WHOLE={"alt_text": "Blue"})
    with world.services.session() as session:
        session.query(Grant).filter(Grant.asset.has(name="WHOLE")).one().permissions = ["distribute"]
    _reviewed_again(world)
    answer = publish.plan(world.services, package_id=world.package_id, channels=["web", "cms", "gallery"])
    assert [(row["asset"], row["channel"]) for row in answer["publications"]] == [
        ("FREE", "web"), ("FREE", "cms"), ("FREE", "gallery"), ("WHOLE", "gallery"),
    ]  # fmt: skip
    licence = "The licence CC-ACME-014 from Northlight does not permit cutting or recolouring it"
    assert [(row["channel"], row["explanation"]) for row in answer["refused"]] == [
        ("web", f"{licence}, which the recipes portrait, landscape and square of web do."),
        ("cms", f"{licence}, which the recipe landscape of cms does."),
    ]
    whole = [row for row in answer["publications"] if row["version_id"] == found["WHOLE"]]
    assert world.publish(whole[0]["publication_id"])["status"] == "live"


def test_a_recipe_that_cuts_is_asked_for_again_when_it_is_published(world, tmp_path):
    include = tmp_path / "include"
    shutil.copytree(world.services.settings.include, include)
    gallery = include / "templates/channels/web.yaml"
    gallery.write_text("name: web\ntitle: Gallery\nkind: origin\nrecipes: [webp]\n")
    world.at(include=include)
    world.beside(WHOLE={"alt_text": "Blue"})
    with world.services.session() as session:
        session.query(Grant).filter(Grant.asset.has(name="WHOLE")).one().permissions = ["distribute"]
    _reviewed_again(world)
    scheduled = world.planned("web")
    gallery.write_text(gallery.read_text().replace("[webp]", "[webp, square]"))
    with pytest.raises(Refused, match="which the recipe square of web does"):
        world.publish(scheduled)
    assert (world.publication(scheduled).status, world.files()) == ("failed", [])


def _reviewed_again(world):
    """Have the world's package, which is void, reviewed again."""
    following = publish.plan(world.services, package_id=world.package_id)["next_package_id"]
    for seat in packages.seats(world.services, package_id=following):
        seats.decide(world.services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict="approve")
    packages.verdict(world.services, package_id=following)
    world.package_id = following


def test_rights_and_contract_are_refused_in_one_answer(world):
    world.beside(BARE={})
    with world.services.session() as session:
        session.query(Grant).filter(Grant.asset.has(name="BARE")).one().duties = ["attribute"]
    _reviewed_again(world)
    [row] = publish.plan(world.services, package_id=world.package_id, channels=["web"])["refused"]
    assert row["explanation"] == (
        "The licence CC-ACME-014 from Northlight asks for a credit, and BARE has neither credit line nor creator. "
        f"{NO_ALT_TEXT} Credit line is missing. Write the credit line: the licence demands that its maker is named."
    )


def test_a_contract_made_stricter_stops_what_is_scheduled_already(world):
    scheduled = world.planned("web")
    contract = world.services.taxonomy.contracts["activate"]["image"]
    stricter = {"field": "width", "rule": "at_least", "value": 1200, "remedy": "Ask for a larger file."}
    rules = [*contract.rules, Rule.model_validate(stricter)]
    world.services.taxonomy.contracts["activate"]["image"] = contract.model_copy(update={"rules": rules})
    [row] = publish.plan(world.services, package_id=world.package_id, channels=["web"])["refused"]
    assert (row["publication_id"], row["explanation"]) == (
        scheduled, "Width is 640, less than 1200. Ask for a larger file.",
    )  # fmt: skip
    with pytest.raises(Refused, match="Width is 640, less than 1200"):
        world.publish(scheduled)
    assert (world.publication(scheduled).status, world.files()) == ("failed", [])


def test_the_window_ends_with_the_last_day_of_the_licence(world):
    publication = world.publication(world.planned())
    with world.services.session() as session:
        ends_on = session.query(Grant).one().ends_on
    assert publication.ends_at == datetime.combine(ends_on + timedelta(1), clock.min, UTC)


def test_only_an_approved_package_is_planned(world):
    with world.services.session() as session:
        package = Package(
            batch=Batch(source="inbox", location="drops/2", sent_by="dario"),
            manifest={},
            manifest_sha256="0" * 64,
        )
        session.add(package)
        session.flush()
        package_id = package.id
    with pytest.raises(Refused, match="not approved"):
        publish.plan(world.services, package_id=package_id)
    with pytest.raises(NotFound, match="no package pkg_none"):
        publish.plan(world.services, package_id="pkg_none")


def test_changed_rights_void_the_approval(world):
    planned = world.planned("web")
    with world.services.session() as session:
        session.query(Grant).one().territories = ["DE", "FR"]
    answer = publish.plan(world.services, package_id=world.package_id)
    assert answer["void"]
    assert (answer["publications"], answer["refused"]) == ([], [])
    assert answer["next_package_id"] not in (None, world.package_id)
    assert publish.plan(world.services, package_id=world.package_id) == answer
    told = world.publish(planned)
    assert (told["status"], told["next_package_id"]) == ("void", answer["next_package_id"])
    assert world.publication(planned).status == "failed"
    assert world.files() == []


# ------------------------------------------------------------------------------------------- embargo


def test_an_embargo_is_kept(world):
    later = utcnow() + timedelta(days=5)
    publication_id = world.planned(not_before=later)
    answer = world.publish(publication_id)
    assert (answer["status"], answer["starts_at"]) == ("scheduled", later.isoformat())
    assert world.files() == []
    assert publish.due(world.services) == []
    assert publish.due(world.services, now=later) == [publication_id]
    assert world.publish(publication_id, now=later)["status"] == "live"
    assert publish.due(world.services, now=later) == []


def test_an_embargoed_publication_learns_at_once_that_its_approval_is_void(world):
    publication_id = world.planned(not_before=utcnow() + timedelta(days=5))
    _retitle(world, "Another")
    assert world.publish(publication_id)["status"] == "void"
    assert world.publication(publication_id).status == "failed"


def test_nothing_goes_out_before_the_campaign_starts(world):
    with world.services.session() as session:
        campaign = session.get_one(Package, world.package_id).campaign
        campaign.starts_on = utcnow().date() + timedelta(10)
        first_day = datetime.combine(campaign.starts_on, clock.min, UTC)
    publication_id = world.planned()
    assert world.publish(publication_id)["starts_at"] == first_day.isoformat()
    assert world.publish(publication_id, now=first_day)["status"] == "live"


def test_an_embargo_beyond_the_licence_is_refused(world):
    answer = publish.plan(world.services, package_id=world.package_id, not_before=utcnow() + timedelta(days=400))
    assert answer["publications"] == []
    assert {row["channel"] for row in answer["refused"]} == {"web", "cms"}


def test_the_policy_is_asked_again_when_the_embargo_is_over(world):
    publication_id = world.planned(not_before=utcnow() + timedelta(days=5))
    with pytest.raises(Refused, match="The licence CC-ACME-014 from Northlight ended on"):
        world.publish(publication_id, now=utcnow() + timedelta(days=90))
    failed = world.publication(publication_id)
    assert failed.status == "failed"
    assert "ended on" in failed.reason
    assert world.files() == []
    assert world.version().state == VersionState.APPROVED
    assert world.planned() == publication_id  # planned anew, it may go out while the licence lasts
    assert world.publish(publication_id)["status"] == "live"


# ------------------------------------------------------------------------------------ the next version


def test_the_next_version_takes_the_place_of_the_one_before(world):
    web, cms = world.planned("web"), world.planned("cms")
    first, urls = world.version_id, world.publish(web)["endpoints"]
    world.publish(cms)
    world.next_version()
    new = world.planned("web")
    live = world.publish(new)
    assert [HTTP.get(url).status_code for url in live["endpoints"]] == [200] * len(urls)
    assert [HTTP.get(url).status_code for url in urls] == [404] * len(urls)
    gone = world.publication(web)
    assert (gone.status, gone.reason) == ("withdrawn", "version 2 took its place")
    assert {probe["url"] for probe in gone.takedown["endpoints"]} == set(urls)
    assert world.publication(cms).status == "live"  # nothing of version 2 is there yet
    with world.services.session() as session:
        assert session.get_one(Version, first).state == VersionState.LIVE
    world.publish(world.planned("cms"))
    assert world.publication(cms).status == "withdrawn"
    with world.services.session() as session:
        assert session.get_one(Version, first).state == VersionState.WITHDRAWN
    later = utcnow() + timedelta(days=8)  # after the days that what was withdrawn rests
    [due] = archive.due(world.services, now=later)
    assert due == {"version_id": first, "reason": "a later version took its place"}


def test_a_takedown_of_the_version_before_is_tried_again(world, monkeypatch):
    web = world.planned("web")
    world.publish(web)
    world.next_version()
    new = world.planned("web")
    _killed(world, "publish:withdraw:before", publish.publish, new)
    assert (world.publication(web).status, world.publication(new).status) == ("live", "live")
    world.publish(new)
    assert world.publication(web).status == "withdrawn"


def test_a_version_whose_place_was_taken_does_not_go_live_any_more(world):
    old = world.package_id, world.version_id
    late = world.planned("web", not_before=utcnow() + timedelta(days=5))
    world.next_version()
    world.publish(world.planned("web"))
    with pytest.raises(Refused, match="Version 2 took its place on web"):
        world.publish(late, now=utcnow() + timedelta(days=6))
    world.package_id, world.version_id = old
    [row] = publish.plan(world.services, package_id=world.package_id, channels=["web"])["refused"]
    assert row["explanation"] == "Version 2 took its place on web."
    assert world.planned("cms")


# ----------------------------------------------------------------------------------- killed, and run again


class Killed(BaseException):
    """What nothing catches: the job is gone at this very step, its open transaction with it."""


def _killed(world: Any, at: str, job: Callable[..., Any], publication_id: str, **kwargs: Any) -> None:
    """Run a job that is gone before or after a step, ``module:step:when``."""
    module_name, step, when = at.split(":")
    module = {"deliver": deliver, "publish": publish}[module_name]
    real = getattr(module, step)

    def deadly(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            real(*args, **kwargs)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, step, deadly)
        with pytest.raises(Killed):
            job(world.services, publication_id=publication_id, wait=no_wait, **kwargs)


@pytest.mark.parametrize("at", ["deliver:put:after", "deliver:post:after", "publish:change_state:after"])
def test_killed_while_publishing_it_is_published_once(world, at: str):
    publication_id = world.planned("cms")
    _killed(world, at, publish.publish, publication_id)
    assert world.publication(publication_id).status == "scheduled"
    live = world.publish(publication_id)
    assert live["status"] == "live"
    assert len(world.entry_urls()) == 1
    assert len(world.files()) == 3
    assert world.version().state == VersionState.LIVE
    assert world.actions(publication_id) == ["publication.scheduled", "publication.live"]


def test_killed_between_delivery_and_catalogue_it_can_still_be_withdrawn(world):
    publication_id = world.planned("cms")
    _killed(world, "deliver:post:after", publish.publish, publication_id)
    assert len(world.files()) == 3
    receipt = world.withdraw(publication_id)
    assert len(receipt["endpoints"]) == 4
    assert all(probe["status"] in (404, 410) for probe in receipt["endpoints"])
    assert world.files() == []
    assert len(world.entry_urls()) == 1
    assert world.publication(publication_id).status == "withdrawn"
    assert world.version().state == VersionState.APPROVED


def test_refused_after_an_interrupted_delivery_nothing_stays_out(world):
    publication_id = world.planned("cms")
    _killed(world, "deliver:post:after", publish.publish, publication_id)
    with pytest.raises(Refused, match="ended on"):
        world.publish(publication_id, now=utcnow() + timedelta(days=90))
    assert world.files() == []
    assert world.publication(publication_id).status == "failed"
    assert [HTTP.get(url).status_code for url in world.entry_urls()] == [410]


@pytest.mark.parametrize("at", ["deliver:remove_entry:after", "publish:probe_until:before"])
def test_killed_while_withdrawing_it_ends_withdrawn(world, at: str):
    publication_id = world.planned("cms")
    live = world.publish(publication_id)
    _killed(world, at, publish.withdraw, publication_id, actor="lena", reason="a claim")
    assert world.publication(publication_id).status == "live"
    receipt = world.withdraw(publication_id)
    assert {probe["url"] for probe in receipt["endpoints"]} == set(live["endpoints"])
    assert world.version().state == VersionState.WITHDRAWN


def test_two_workers_publish_once(world):
    publication_id = world.planned("cms")
    results: list[dict[str, Any]] = []

    def work() -> None:
        other = Services(world.services.settings)
        results.append(publish.publish(other, publication_id=publication_id, wait=no_wait))
        other.engine.dispose()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 3
    assert all(result == results[0] for result in results)
    assert results[0]["status"] == "live"
    assert len(world.entry_urls()) == 1
    assert world.actions(publication_id) == ["publication.scheduled", "publication.live"]


# --------------------------------------------------------------------------------- channels that fail


def test_a_channel_that_refuses_is_named_and_nothing_stays_out(world, scripted):
    scripted.answers = [(422, b'{"error": "title is too long"}')]
    publication_id = world.planned("cms")
    world.at(cms_url=scripted.url)
    with pytest.raises(wire.ChannelRefused, match=r"channel cms.*/api/entries.*422.*title is too long"):
        world.publish(publication_id)
    assert len(scripted.seen) == 1
    failed = world.publication(publication_id)
    assert (failed.status, failed.endpoints) == ("failed", [])
    assert "title is too long" in failed.reason
    assert world.files() == []
    assert world.version().state == VersionState.APPROVED
    world.at(cms_url=world.origin.url)
    assert world.publish(publication_id)["status"] == "live"
    assert world.publication(publication_id).reason is None


def test_a_channel_that_is_down_leaves_it_scheduled(world, scripted):
    scripted.answers = [(503, b"")]
    publication_id = world.planned("cms")
    world.at(cms_url=scripted.url)
    with pytest.raises(wire.ChannelUnavailable):
        world.publish(publication_id)
    assert {seen["headers"]["Idempotency-Key"] for seen in scripted.seen} == {
        world.publication(publication_id).idempotency_key
    }
    waiting = world.publication(publication_id)
    assert waiting.status == "scheduled"
    assert "503" in waiting.reason
    assert publish.due(world.services) == [publication_id]
    world.at(cms_url=world.origin.url)
    assert world.publish(publication_id)["status"] == "live"


def test_wrong_bytes_at_the_origin_are_not_live(world, scripted):
    scripted.answers = [(200, b"a placeholder")]
    publication_id = world.planned("web")
    world.at(origin_url=scripted.url)
    with pytest.raises(publish.NotSeen, match="other bytes"):
        world.publish(publication_id)
    assert world.publication(publication_id).status == "scheduled"
    assert world.version().state == VersionState.APPROVED
    world.at(origin_url=world.origin.url)
    assert world.publish(publication_id)["status"] == "live"


def test_a_failed_publication_goes_out_anew_after_its_takedown(world):
    publication_id = world.planned("cms")
    for again in range(2):
        _killed(world, "deliver:post:after", publish.publish, publication_id)
        with pytest.raises(Refused, match="ended on"):
            world.publish(publication_id, now=utcnow() + timedelta(days=90))
        assert world.files() == []
        assert [HTTP.get(url).status_code for url in world.entry_urls()] == [410] * (again + 1)
        assert world.planned("cms") == publication_id
    live = world.publish(publication_id)
    assert live["status"] == "live"
    assert HTTP.get(live["live_url"]).status_code == 200
    assert len(world.entry_urls()) == 3


def test_a_takedown_that_was_not_proved_is_finished_before_it_goes_out_anew(world, scripted):
    scripted.answers = [(201, {"id": 1, "url": "/e/1"}), (404, {})]
    publication_id = world.planned("cms")
    world.at(cms_url=scripted.url)
    with pytest.raises(publish.NotSeen):
        world.publish(publication_id)
    scripted.answers = [(200, {"id": 1, "url": "/e/1"})]  # a cache that still has it
    with pytest.raises(publish.StillLive):
        world.publish(publication_id, now=utcnow() + timedelta(days=90))
    assert world.publication(publication_id).status == "failed"
    assert world.planned("cms") == publication_id
    with pytest.raises(publish.StillLive):
        world.publish(publication_id)
    scripted.seen.clear()
    scripted.answers = [
        (200, {"id": 1, "url": "/e/1"}), (204, b""), (404, {}),  # the old entry is named, removed, proved dead
        (201, {"id": 2, "url": "/e/2"}), (200, {}),
    ]  # fmt: skip
    assert world.publish(publication_id)["live_url"] == f"{scripted.url}/e/2"
    keys = [seen["headers"].get("Idempotency-Key") for seen in scripted.seen if seen["method"] == "POST"]
    key = world.publication(publication_id).idempotency_key
    assert keys == [key, f"{key}-2"]


# -------------------------------------------------------------------------------- takedowns unproved


def test_an_endpoint_that_still_answers_keeps_it_live(world, scripted):
    scripted.answers = [(201, {"id": "e/1", "url": "/pages/e1"}), (200, {})]
    publication_id = world.planned("cms")
    world.at(cms_url=scripted.url)
    assert world.publish(publication_id)["live_url"] == f"{scripted.url}/pages/e1"
    with pytest.raises(publish.StillLive, match=rf"{scripted.url}/pages/e1 \(status 200\)") as caught:
        world.withdraw(publication_id)
    assert [probe.url for probe in caught.value.probes] == [f"{scripted.url}/pages/e1"]
    delete = next(seen for seen in scripted.seen if seen["method"] == "DELETE")
    assert delete["path"] == "/api/entries/e%2F1"
    assert world.publication(publication_id).status == "live"
    assert world.version().state == VersionState.LIVE
    assert world.actions(publication_id)[-1] == "publication.takedown_unproved"
    scripted.answers = [(404, {})]
    receipt = world.withdraw(publication_id)
    assert len(receipt["endpoints"]) == 4
    assert world.version().state == VersionState.WITHDRAWN


def test_a_channel_that_will_not_remove_keeps_none_of_our_files_alive(world, scripted):
    scripted.answers = [(201, {"id": 1, "url": "/e/1"}), (200, {})]
    publication_id = world.planned("cms")
    world.at(cms_url=scripted.url)
    world.publish(publication_id)
    scripted.answers = [(403, b"not yours")]
    with pytest.raises(wire.ChannelRefused, match=r"DELETE .*/api/entries/1 .*403.*not yours"):
        world.withdraw(publication_id)
    assert world.files() == []
    assert world.publication(publication_id).status == "live"
    scripted.answers = [(404, {})]  # somebody removed it there by hand
    assert len(world.withdraw(publication_id)["endpoints"]) == 4


def test_no_answer_is_no_proof(world):
    publication_id = world.planned("web")
    world.publish(publication_id)
    world.origin.__exit__(None, None, None)
    with pytest.raises(publish.StillLive, match="no answer: ConnectError"):
        world.withdraw(publication_id)
    assert world.publication(publication_id).status == "live"


def test_what_never_went_out_is_withdrawn_without_probes(world):
    publication_id = world.planned("cms", not_before=utcnow() + timedelta(days=5))
    assert world.withdraw(publication_id)["endpoints"] == []
    assert world.publication(publication_id).status == "withdrawn"
    assert world.version().state == VersionState.APPROVED
    assert world.entry_urls() == []
    with pytest.raises(Refused, match="It was withdrawn: a claim"):
        world.publish(publication_id)
    [row] = publish.plan(world.services, package_id=world.package_id, channels=["cms"])["refused"]
    assert "withdrawn from cms on" in row["explanation"]
    assert "needs a new review" in row["explanation"]


def test_a_withdrawn_version_goes_out_again_after_a_new_review(world):
    later = utcnow() + timedelta(days=5)
    web, cms = world.planned("web"), world.planned("cms", not_before=later)
    world.publish(web)
    world.withdraw(web)
    world.package_id = packages.reopen_withdrawn(world.services, version_id=world.version_id, person="maya")
    with pytest.raises(Refused, match=f"approval is void.*{world.package_id}"):
        world.publish(cms, now=later)  # the approval of old counts no more
    _sign(world)
    with pytest.raises(Refused, match="approval is void"):
        world.publish(cms, now=later)
    again = world.planned("web")
    assert again != web
    assert world.publish(again)["status"] == "live"
    assert world.version().state == VersionState.LIVE


def test_an_unknown_publication_is_named(world):
    for job in (world.publish, world.withdraw):
        with pytest.raises(NotFound, match="no publication pub_none"):
            job("pub_none")


# ----------------------------------------------------------------------------------- other than images


def _twice(world: Any) -> tuple[str, str]:
    """Let the first round's web publication be cut off in delivery and the second round's go live."""
    first = world.planned("web")
    _killed(world, "deliver:put:after", publish.publish, first)
    _retitle(world, "Another")
    world.package_id = publish.plan(world.services, package_id=world.package_id)["next_package_id"]
    _sign(world)
    second = world.planned("web")
    assert world.publish(second)["status"] == "live"
    return first, second


@pytest.mark.parametrize("how", ["publish", "withdraw"])
def test_a_takedown_leaves_what_another_publication_shows(world, how: str):
    first, second = _twice(world)
    urls = [point["url"] for point in world.publication(second).endpoints]
    assert urls == [point["url"] for point in world.publication(first).endpoints]
    if how == "publish":
        assert world.publish(first)["status"] == "void"
        assert (world.publication(first).status, world.publication(first).receipt) == ("failed", None)
    else:
        receipt = world.withdraw(first)
        assert receipt["endpoints"] == []
        assert receipt["kept"] == [{"url": url, "publication_id": second} for url in urls]
    assert [HTTP.get(url).status_code for url in urls] == [200] * len(urls)
    assert world.version().state == VersionState.LIVE
    assert len(world.withdraw(second)["endpoints"]) == len(urls)
    assert world.files() == []
    assert world.version().state == VersionState.WITHDRAWN


def test_a_document_goes_out_as_it_is(world):
    content = b"%PDF-1.7 a booklet"
    world.review(content, filename="Booklet (final).PDF", kind="document", media_type="application/pdf")
    publication_id = world.planned("web")
    live = world.publish(publication_id)
    assert live["live_url"].endswith(f"/v01/Booklet-final-{hashlib.sha256(content).hexdigest()[:12]}.pdf")
    assert HTTP.get(live["live_url"]).content == content


def test_bytes_that_rotted_are_never_published(world):
    world.review(b"%PDF-1.7", filename="Booklet.pdf", kind="document", media_type="application/pdf")
    publication_id = world.planned("web")
    store, key = world.services.storage.resolve(world.version().storage_uri)
    store.put(key, b"rotten")
    with pytest.raises(Refused, match="not the ones the catalogue knows"):
        world.publish(publication_id)
    assert world.files() == []
    assert world.publication(publication_id).status == "failed"


# ------------------------------------------------------------------------- approvals, up to the last moment


def _sign(world: Any) -> None:
    for seat in packages.seats(world.services, package_id=world.package_id):
        seats.decide(world.services, seat_id=seat["seat_id"], person=seat["eligible"][0], verdict="approve")
    assert packages.verdict(world.services, package_id=world.package_id)["status"] == "approved"


def _retitle(world: Any, title: str) -> None:
    contracts.fill(world.services, version_id=world.version_id, values={"title": title}, person="libby")


@pytest.mark.parametrize("again", [1, 2])
def test_a_change_while_one_channel_is_live_keeps_the_other_from_going_out(world, scripted, again: int):
    web, cms = world.planned("web"), world.planned("cms")
    world.publish(web)
    scripted.answers = [(503, b"")]
    world.at(cms_url=scripted.url)
    with pytest.raises(wire.ChannelUnavailable):
        world.publish(cms)
    _retitle(world, "Nobody approved this")
    scripted.answers = [(201, {"id": "e1", "url": "/e1"}), (404, {})]
    scripted.seen.clear()
    for _ in range(again):
        with pytest.raises(Refused, match=r"approval is void.*Withdraw the version"):
            world.publish(cms)
    assert "Nobody approved this" not in str(scripted.seen)
    assert world.publication(cms).status == "failed"
    assert world.publication(web).status == "live"
    with pytest.raises(Refused, match="package is void"):
        publish.plan(world.services, package_id=world.package_id)


@pytest.mark.parametrize("step", ["_announce", "_deliver"])
def test_a_change_at_the_last_moment_is_not_sent(world, scripted, monkeypatch, step: str):
    cms = world.planned("cms")
    scripted.answers = [(201, {"id": "e1", "url": "/e1"}), (404, {})]
    world.at(cms_url=scripted.url)
    real = getattr(publish, step)

    def changed_just_before(*args: Any, **kwargs: Any) -> Any:
        _retitle(world, "Nobody approved this")
        return real(*args, **kwargs)

    monkeypatch.setattr(publish, step, changed_just_before)
    told = world.publish(cms)
    assert told["status"] == "void"
    assert packages.seats(world.services, package_id=told["next_package_id"])[0]["status"] == "open"
    assert world.publish(cms) == told
    assert "Nobody approved this" not in str(scripted.seen)
    assert world.publication(cms).status == "failed"
    assert world.files() == []
