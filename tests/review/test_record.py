"""The signed record: the same review gives the same bytes, and whatever is edited in it is named."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from typer.testing import CliRunner

import world
from dam import audit, cli
from dam.catalog.models import AuditEvent, Version
from dam.enrich import contracts
from dam.errors import BadInput, NotFound
from dam.renditions import render
from dam.review import annotations, packages, record, record_check, record_pdf, seats

PRIVATE = "They may sue us over this."
COMMENT = "Fine, but keep the <b>logo</b> clear & legible.\nŁódź, Größe, 田."


@pytest.fixture
def reviewed(services, tmp_path):
    """A package in its second round, remarked on and signed by both seats; its id."""
    batch_id, complete = world.designers_batch(services, tmp_path)
    render.proofs(services, version_ids=complete)
    first = packages.freeze(services, batch_id=batch_id, version_ids=complete)
    seat = packages.seats(services, package_id=first)[0]
    seats.decide(services, seat_id=seat["seat_id"], person="bea", verdict="approve", comment="First look.")
    contracts.fill(services, version_id=complete[0], values={"title": "A better title"}, person="libby")
    package_id = packages.revalidate(services, package_id=first)
    with services.session() as session:
        sha256 = session.get_one(Version, complete[0]).sha256
    box = {"type": "FragmentSelector", "conformsTo": "http://www.w3.org/TR/media-frags/"}
    target = {"source": f"urn:sha256:{sha256}", "selector": box | {"value": "xywh=percent:10,20,30,40"}}
    known = {"package_id": package_id, "version_id": complete[0], "person": "lena"}
    annotations.add(services, **known, body="Is the cup released?", kind="must_fix", target=target)
    secret = annotations.add(services, **known, body="Ask our counsel first.", audience="legal_reviewer")
    annotations.edit(services, annotation_id=secret["annotation_id"], person="lena", changes={"body": PRIVATE})
    for seat, person, verdict in zip(
        packages.seats(services, package_id=package_id), ("bea", "lena"), ("approve", "request_changes"), strict=True
    ):
        seats.decide(
            services, seat_id=seat["seat_id"], person=person, verdict=verdict, comment=COMMENT, address="203.0.113.7",
            versions={complete[1]: {"verdict": "approve", "comment": "This one as it is."}},
        )  # fmt: skip
    packages.verdict(services, package_id=package_id)
    return package_id


@pytest.fixture
def document(services, reviewed):
    return record.build(services, package_id=reviewed)


def check(document, tmp_path, **trust):
    path = tmp_path / "record.json"
    path.write_bytes(record.as_bytes(document))
    return record_check.verify(path, **trust)


def test_a_record_holds_and_says_who_when_where_and_on_what(services, reviewed, document, tmp_path):
    report = check(document, tmp_path, trusted_key=audit.known_key(services.settings.signing_key))
    assert [str(problem) for problem in report.problems] == []
    assert report.notes == []
    told = document["record"]
    assert [(row["person"], row["role"], row["verdict"], row["address"]) for row in told["decisions"]] == [
        ("bea", "brand_reviewer", "approve", "203.0.113.7"),
        ("lena", "legal_reviewer", "request_changes", "203.0.113.7"),
    ]
    assert {row["manifest_sha256"] for row in told["decisions"]} == {told["package"]["manifest_sha256"]}
    assert [row["body"] for row in told["notes"]] == ["Is the cup released?"]
    assert [row["status"] for row in told["rounds_before"]] == ["void"]
    assert told["rounds_before"][0]["decisions"][0]["comment"] == "First look."
    assert told["names"] == {"bea": "Bea Okafor", "lena": "Lena Vogt"}
    assert "hitl" not in json.dumps(told)


def test_a_private_note_is_in_no_record(services, document):
    told = json.dumps(document, ensure_ascii=False)
    digest = hashlib.sha256(PRIVATE.encode()).hexdigest()
    assert not any(word in told for word in (PRIVATE, "counsel", 'legal_reviewer"}, "body', digest))
    actions = [event["action"] for event in document["record"]["proof"]["events"]]
    assert (actions.count("annotation.added"), "annotation.edited" in actions) == (1, False)


def test_what_was_taken_back_and_on_whose_behalf_is_told(services, batch, tmp_path):
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=batch[1])
    [brand, legal] = packages.seats(services, package_id=package_id)
    seats.decide(services, seat_id=brand["seat_id"], person="bea", verdict="approve")
    seats.undo(services, seat_id=brand["seat_id"], person="bea")
    seats.delegate(services, seat_id=legal["seat_id"], person="lena", to="momo", why="Lena is in court.")
    seats.decide(services, seat_id=legal["seat_id"], person="momo", verdict="approve", conditions="Crop the sign.")
    document = record.build(services, package_id=package_id)
    assert check(document, tmp_path).problems == []
    back, acting = document["record"]["decisions"]
    assert back["withdrawal"]["person"] == "bea"
    assert (acting["person"], acting["on_behalf_of"], acting["conditions"]) == ("momo", "lena", "Crop the sign.")
    pdf = record_pdf.export(services, document)
    with pypdfium2.PdfDocument(pdf) as opened:
        text = " ".join(opened[0].get_textpage().get_text_bounded().split())
    for words in ("it does not count", "on behalf of Lena Vogt (lena)", "Crop the sign.", "Lena is in court."):
        assert words in text
    edited = sealed_again(put(document, "/decisions/0/withdrawal", None), services)
    assert "/decisions/0/withdrawal" in {problem.path for problem in check(edited, tmp_path).problems}


def test_the_same_review_gives_the_same_bytes_whenever_it_is_exported(services, reviewed, document):
    first = record_pdf.export(services, document)
    with services.session() as session:
        audit.record(session, actor="ada", action="test.done", subject_id="elsewhere")
    audit.anchor(services)
    again = record.build(services, package_id=reviewed)
    assert record.as_bytes(again) == record.as_bytes(document)
    assert record_pdf.export(services, again) == first


def test_events_of_others_are_not_told(services, document):
    with services.session() as session:
        count = len(session.scalars(select(AuditEvent)).all())
    events = document["record"]["proof"]["events"]
    assert 0 < len(events) < count
    assert {event["subject_id"] for event in events} == {document["record"]["package"]["id"]}


def test_an_open_review_is_told_as_open_and_a_record_without_a_trusted_key_names_its_own(services, batch, tmp_path):
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=batch[1])
    report = check(record.build(services, package_id=package_id), tmp_path)
    assert report.ok
    assert "still open" in report.notes[1]
    assert report.public_key in report.notes[0]


def test_a_package_that_is_not_there_has_no_record(services):
    with pytest.raises(NotFound):
        record.build(services, package_id="pkg_x")


# ---------------------------------------------------------------------------------------------- tampering


def changed(value, draw):
    """Return another value than this one."""
    return draw(
        st.one_of(
            st.text(max_size=5), st.integers(-5, 5), st.none(), st.booleans(), st.just([]), st.just({"a": 1})
        ).filter(lambda other: json.dumps(other) != json.dumps(value))
    )


def put(document, path, value):
    """Set the value at a path of a record's copy."""
    copied = copy.deepcopy(document)
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    node = copied["record"]
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[int(last) if isinstance(node, list) else last] = value
    return copied


def test_every_single_value_that_is_edited_is_named(document, tmp_path):
    paths = [path for path, _ in record.leaves(document["record"])]
    seals = {path for path in paths if path.startswith("/seals/")}
    assert len(seals) * 2 == len(paths) > 200

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def tried(data):
        path = data.draw(st.sampled_from(paths))
        value = dict(record.leaves(document["record"]))[path]
        edited = put(document, path, changed(value, data.draw))
        named = path.removeprefix("/seals/").replace("~1", "/").replace("~0", "~") if path in seals else path
        problems = check(edited, tmp_path).problems
        assert any(problem.path == named or problem.path.startswith(f"{named}/") for problem in problems), problems
        assert any(problem.path == "/sha256" for problem in problems)

    tried()


@pytest.mark.parametrize("name", ["sha256", "signature", "public_key"])
def test_an_edited_signature_is_named(document, tmp_path, name):
    edited = document | {name: document[name][:-4] + "AAA="}
    assert any(problem.path in (f"/{name}", "/signature") for problem in check(edited, tmp_path).problems)


def sealed_again(document, services):
    """Do as somebody would who edits a record and puts a fresh signature of another key under it."""
    body = {name: part for name, part in document["record"].items() if name != "seals"}
    body["seals"] = {path: record.seal(path, value) for path, value in record.leaves(body)}
    sha256 = hashlib.sha256(record.canonical(body)).hexdigest()
    signed = audit.sign(services, {"format": record.FORMAT, "sha256": sha256})
    return {"record": body} | {name: signed[name] for name in ("sha256", "signature", "public_key")}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("/decisions/1/verdict", "approve", "/decisions/1/verdict"),
        ("/decisions/0/comment", "Perfect.", "/decisions/0/comment"),
        ("/decisions/0/person", "ada", "/decisions/0/person"),
        ("/decisions/0/address", "198.51.100.1", "/decisions/0/address"),
        ("/decisions/0/role", "dam_admin", "/decisions/0/role"),
        ("/decisions/0/manifest_sha256", "0" * 64, "/decisions/0/manifest_sha256"),
        ("/package/manifest_sha256", "0" * 64, "/manifest"),
        ("/package/status", "rejected", "/package/status"),
        ("/proof/events/1/actor", "eve", "/proof/events/1"),
        ("/proof/events/0/path", [], "/proof/events/0/path"),
        ("/proof/anchors/0/root", "0" * 64, "/proof/anchors/0"),
    ],
)
def test_the_audit_proof_names_it_even_when_seals_and_signature_are_made_anew(
    services, document, tmp_path, path, value, named
):
    edited = sealed_again(put(document, path, value), services)
    problems = check(edited, tmp_path).problems
    assert named in {problem.path for problem in problems}
    assert "/sha256" not in {problem.path for problem in problems}


def test_a_record_that_somebody_else_signed_is_not_trusted(services, document, tmp_path):
    ours = audit.known_key(services.settings.signing_key)
    for path in tmp_path.glob("anchor.p*"):
        path.unlink()
    edited = sealed_again(document, services)
    places = {problem.path for problem in check(edited, tmp_path, trusted_key=ours).problems}
    assert {"/public_key", "/proof/anchors/0"} <= places


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"record": {}, "record": {}}', b"%PDF-1.7 no", b"\xff"])
def test_what_is_no_record_is_refused_plainly(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        record_check.verify(path)


# ---------------------------------------------------------------------------------------------------- PDF


@pytest.fixture
def pdf(services, document):
    return record_pdf.export(services, document)


def verified(content, tmp_path):
    path = tmp_path / "record.pdf"
    path.write_bytes(content)
    return record_check.verify(path)


def test_the_pdf_alone_proves_and_says_the_same(document, pdf, tmp_path):
    report = verified(pdf, tmp_path)
    assert [str(problem) for problem in report.problems] == []
    assert report.sha256 == document["sha256"]
    assert record_pdf.attached(pdf, where="") == record.as_bytes(document)
    with pypdfium2.PdfDocument(pdf) as opened:
        text = " ".join(" ".join(page.get_textpage().get_text_bounded().split()) for page in opened)
    for words in (
        "Bea Okafor (bea)", "Request changes", "203.0.113.7", "keep the <b>logo</b> clear & legible.", "Größe",
        "Is the cup released?", "must fix, at 10 % from the left", "Round 1", "First look.", "This one as it is.",
        document["sha256"],
        document["record"]["package"]["manifest_sha256"],
    ):  # fmt: skip
        assert words.replace(" ", "") in text.replace(" ", ""), words


def test_the_pdf_is_tagged_and_named_and_shows_the_pictures(document, pdf):
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        assert opened.Root.MarkInfo.Marked
        assert str(opened.Root.Lang) == "en"
        assert document["sha256"] in str(opened.docinfo["/Subject"])
        with opened.open_metadata() as meta:
            assert meta["dc:title"] == "Record of a review: Spring 2027, round 2"
            assert meta["dc:identifier"] == f"urn:sha256:{document['sha256']}"
        elements = opened.Root.StructTreeRoot.K[0].K
        roles = [str(element.S) for element in elements]
        assert {"/H1", "/H2", "/H3", "/P", "/Figure"} == set(roles)
        assert next(str(element.Alt) for element in elements if element.S == "/Figure").startswith("Thumbnail of")
        assert opened.Root.AF[0].AFRelationship == "/Data"
        marked = sum(
            str(operator) == "BDC" and "MCID" in str(operands)
            for page in opened.pages
            for operands, operator in pikepdf.parse_content_stream(page)
        )
        assert marked == len(elements)
    assert {sha256 for sha256, _ in record_pdf._pictures(pdf)} == set(document["record"]["pictures"].values())


def saved(opened):
    out = io.BytesIO()
    opened.save(out)
    return out.getvalue()


def test_a_page_that_says_something_else_is_named(pdf, document, tmp_path):
    other = copy.deepcopy(document)
    other["record"]["decisions"][1]["verdict"] = "approve"
    with pikepdf.open(io.BytesIO(record_pdf.render(other, {}))) as forged, pikepdf.open(io.BytesIO(pdf)) as opened:
        del opened.pages[0]
        opened.pages.insert(0, forged.pages[0])
        content = saved(opened)
    told = " ".join(str(problem) for problem in verified(content, tmp_path).problems)
    assert "page 1: says “Approve” where the record says “Request changes”" in told


def test_another_picture_and_a_file_saved_again_are_told(pdf, tmp_path):
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        again = saved(opened)
        [image, *_] = [part for page in opened.pages for part in page.get_images().values()]
        image.write(Path(world.picture(tmp_path, "B.jpg", seed=9)).read_bytes(), filter=pikepdf.Name.DCTDecode)
        other = saved(opened)
    assert ["saved again" in problem.what for problem in verified(again, tmp_path).problems] == [True]
    assert any("picture" in problem.what for problem in verified(other, tmp_path).problems)


def test_the_json_in_a_pdf_is_checked_like_any_other(pdf, document, tmp_path):
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        edited = record.as_bytes(put(document, "/decisions/1/verdict", "approve"))
        opened.attachments["record.json"] = pikepdf.AttachedFileSpec(opened, edited)
        content = saved(opened)
    assert "/decisions/1/verdict" in {problem.path for problem in verified(content, tmp_path).problems}


# -------------------------------------------------------------------------------------------- command line


def test_export_and_verify_on_the_command_line(services, reviewed, tmp_path, monkeypatch):
    monkeypatch.setenv("DAM_CATALOG_URL", services.settings.catalog_url)
    monkeypatch.setenv("DAM_STORAGE_URL", services.settings.storage_url)
    monkeypatch.setenv("DAM_SIGNING_KEY", str(services.settings.signing_key))
    run = CliRunner()
    told = run.invoke(cli.app, ["record", "export", reviewed, "--into", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    files = sorted((tmp_path / "out").iterdir())
    assert [path.suffix for path in files] == [".json", ".pdf"]
    monkeypatch.setenv("DAM_CATALOG_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    for path in files:
        told = run.invoke(cli.app, ["record", "verify", str(path)])
        assert told.exit_code == 0, told.output
        assert "The record holds" in told.output
    files[0].write_bytes(files[0].read_bytes().replace(b"request_changes", b"approve________", 1))
    told = run.invoke(cli.app, ["record", "verify", str(files[0])])
    assert told.exit_code == 1
    assert "DOES NOT FIT: /" in told.output
    only = run.invoke(cli.app, ["record", "verify", str(files[1]), "--key", str(tmp_path / "anchor.pub")])
    assert only.exit_code == 0, only.output
