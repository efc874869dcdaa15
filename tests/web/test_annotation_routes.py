"""Notes over HTTP: what each route answers to whom."""

from __future__ import annotations

import pytest
from sqlalchemy import select

import world
from dam.catalog.models import Annotation
from dam.review import annotations, packages

pytestmark = pytest.mark.slow  # Airflow's auth manager takes its time to start
BOX = {"selector": {"type": "FragmentSelector", "value": "xywh=percent:10,20,30,40"}}


@pytest.fixture
def package(services, tmp_path):
    """A package under review and its first version."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    return packages.freeze(services, batch_id=batch_id, version_ids=complete), complete[0]


@pytest.fixture
def post(site, package):
    """Writes a note over HTTP."""

    def made(person, body="The logo is too small.", **more):
        given = {"version_id": package[1], "body": body} | more
        return site(person).post(f"/api/packages/{package[0]}/annotations", json=given)

    return made


def listed(site, person, package):
    return site(person).get(f"/api/packages/{package[0]}/annotations").json()


def test_a_note_is_written_changed_resolved_and_opened_again(site, package, post):
    made = post("bea", kind="must_fix", target=BOX).json()
    assert made["target"]["selector"]["value"] == "xywh=percent:10,20,30,40"
    path = f"/api/annotations/{made['annotation_id']}"
    assert site("bea").patch(path, json={"body": "Bigger."}).json()["target"] == made["target"]
    assert site("bea").patch(path, json={"target": None}).json()["target"] is None
    assert site("lena").post(f"{path}/resolve", json={"resolution": "Done."}).json()["resolution"] == "Done."
    [row] = listed(site, "lena", package)
    assert (row["body"], row["status"], row["kind"], row["mine"]) == ("Bigger.", "resolved", "must_fix", False)
    assert site("lena").post(f"{path}/reopen").json()["status"] == "open"
    assert site("bea").post(f"{path}/withdraw").json() == {"withdrawn": made["annotation_id"]}
    assert listed(site, "bea", package) == []


def test_a_refusal_says_what_is_wrong(site, services, package, post):
    made = post("bea").json()
    path = f"/api/annotations/{made['annotation_id']}"
    for reply, status, what in (
        (post("bea", " "), 422, "empty"),
        (post("bea", target={"selector": {"type": "XPathSelector", "value": "//p"}}), 422, "only FragmentSelector"),
        (post("bea", "@maya", audience="brand_reviewer"), 422, "would not see this note"),
        (site("lena").patch(path, json={"body": "Mine."}), 409, "Bea Okafor's note"),
        (site("bea").post("/api/annotations/ann_none/resolve"), 404, "no such note"),
        (site("bea").get("/api/packages/pkg_none/annotations"), 404, "no such package"),
    ):
        assert (reply.status_code, what in reply.json()["what"]) == (status, True), reply.text
    assert post("bea", kind="wish").status_code == 422
    assert site("bea").post("/api/annotations/a%00b/resolve").status_code == 422
    world.sign_all(services, package[0])
    over = post("bea")
    assert (over.status_code, over.json()["what"]) == (409, "the review is over: approved")


@pytest.mark.parametrize("person", ["bea", "maya", "vic"])
def test_a_private_note_leaks_on_no_route(site, services, package, post, person):
    secret = post("lena", "Contract ends early", audience="legal_reviewer").json()
    answer = post("lena", "Contract: I ask them", reply_to=secret["annotation_id"]).json()
    reads = (
        f"/api/packages/{package[0]}/annotations",
        f"/api/packages/{package[0]}/annotations.jsonld",
        f"/api/packages/{package[0]}",
        f"/packages/{package[0]}",
    )
    for path in reads:
        told = site(person).get(path)
        assert told.status_code == 200
        assert "Contract" not in told.text, path
        assert answer["annotation_id"] not in told.text, path
        assert "Contract" in site("lena").get(path).text, path
    if person != "vic":
        for act in ("resolve", "reopen", "withdraw"):
            assert site(person).post(f"/api/annotations/{secret['annotation_id']}/{act}").status_code == 404
        assert site(person).patch(f"/api/annotations/{secret['annotation_id']}", json={"body": "?"}).status_code == 404


def test_other_programs_get_json_ld(site, package, post):
    post("bea", target=BOX)
    reply = site("vic").get(f"/api/packages/{package[0]}/annotations.jsonld")
    assert reply.headers["content-type"] == 'application/ld+json; profile="http://www.w3.org/ns/anno.jsonld"'
    assert [item["target"]["type"] for item in reply.json()["items"]] == ["SpecificResource"]


def test_who_is_named_is_mailed_after_the_answer(site, services, post, monkeypatch):
    from dam import mail

    sent = []
    monkeypatch.setattr(mail, "send", lambda services, **mail: bool(sent.append(mail)) or True)
    made = post("bea", "@lena look").json()
    assert [mail["to"] for mail in sent] == [["lena"]]
    assert made["annotation_id"] in sent[0]["context"]["link"]
    with services.session() as session:
        assert session.scalars(select(Annotation.to_mail)).all() == [[]]


def test_no_log_in_is_a_guest_by_its_name(site, services, package, post, auth):
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    name = "guest:eva@agency.example"
    user = SimpleAuthManagerUser(username=name, role="user", teams=None)
    auth[name] = get_auth_manager().generate_jwt(user)
    assert annotations.may_write(services, name)
    assert post(name).status_code in (401, 403)
    assert listed(site, "bea", package) == []
