"""What changed between two vocabularies, and what it would re-tag; the commands around it."""

from __future__ import annotations

import json
import shutil

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import world
from dam.catalog.models import Tag, Version
from dam.cli import app
from dam.enrich import contracts
from dam.enrich.effects import effect
from dam.settings import PROJECT
from dam.taxonomy import Taxonomy, files
from dam.taxonomy.changes import compare


@pytest.fixture
def folder(tmp_path):
    """A copy of the taxonomy to be edited."""
    return shutil.copytree(PROJECT / "include" / "taxonomy", tmp_path / "taxonomy")


@pytest.fixture
def dam(services, monkeypatch, tmp_path):
    """Return a function that runs a command over a copy of include/."""
    shutil.copytree(PROJECT / "include" / "templates", tmp_path / "templates")
    monkeypatch.setenv("DAM_CATALOG_URL", services.settings.catalog_url)
    monkeypatch.setenv("DAM_STORAGE_URL", services.settings.storage_url)
    monkeypatch.setenv("DAM_INCLUDE", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, words)


def edit(folder, *pairs):
    path = folder / "vocabulary.yaml"
    text = path.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


def test_every_kind_of_change_is_told(folder):
    old = files.read(folder)
    edit(
        folder,
        ("    moon: {en: moon,", "    moon: {en: Moon, nl: maan,"),
        ("    grass:", "    lawn:"),
        ("    city: {en: city,", "    city: {en: city, replaced_by: material,"),
        ("broader: vehicle}", "broader: technology}"),
        ("hidden: {en: [expresso, coffe]}", "hidden: {en: [expresso]}"),
        ("  usage: {en: usage,", "  usage: {en: use,"),
    )
    told = {change.id: change for change in compare(old, files.read(folder))}
    assert set(told) == {
        "usage",
        *(f"subject/{slug}" for slug in ("moon", "grass", "lawn", "city", "motorcycle", "coffee")),
    }
    assert told["subject/moon"].says == ["label (en): moon → Moon", "label (nl): – → maan"]
    assert set(told["subject/moon"].words) == {"Moon", "maan"}
    assert (told["subject/grass"].kind, told["subject/lawn"].kind) == ("removed", "added")
    assert told["subject/city"].says[0] == "deprecated, use subject/material"
    assert told["subject/motorcycle"].says == ["broader + subject/technology", "broader − subject/vehicle"]
    assert told["subject/coffee"].lost == ["coffe"]
    assert str(told["usage"]) == "~ usage: label (en): usage → use"
    assert compare(old, old) == []


@pytest.fixture
def library(services, tmp_path):
    """Three pictures: one of cats, one of foxes, one tagged by a person."""
    paths = [
        world.picture(tmp_path, f"{name}.jpg", seed=at, xmp=world.METADATA | {"Xmp.dc.subject": words})
        for at, (name, words) in enumerate((("one", ["cats"]), ("two", ["red foxes", "fox"]), ("three", ["city"])))
    ]
    batch_id = world.drop(services, "drops/a", paths)
    world.ingest(services, batch_id)
    with services.session() as session:
        found = dict(session.execute(select(Version.filename, Version.id)).all())
    contracts.fill(services, version_id=found["three.jpg"], values={"tags": ["subject/city"]}, person="libby")
    return found


def test_what_a_change_would_re_tag_is_counted_and_shown(services, folder, library):
    old = files.read(folder)
    edit(
        folder,
        ("    cat:\n", "    fox: {en: fox, broader: animal}\n    cat:\n"),
        ("      en: cat\n", "      en: feline\n"),
        ("    city: {en: city,", "    city: {en: city, replaced_by: material,"),
    )
    new = files.read(folder)
    with services.session() as session:
        before = session.execute(select(Tag.term_id, Tag.source, Tag.status)).all()
    told = effect(services, old, new, compare(old, new))
    assert dict(told.added) == {"subject/fox": 1, "subject/material": 1}
    assert dict(told.removed) == {"subject/cat": 1}  # the city is a person's word, and stays
    assert (told.versions, told.looked_at, told.left) == (3, 3, 0)
    assert {sample["filename"] for sample in told.samples} == {"one.jpg", "two.jpg", "three.jpg"}
    assert any("subject/fox (embedded: the keyword “fox”)" in sample["added"] for sample in told.samples)
    assert told.standing == {"subject/city": {"by_people": 1, "by_taggers": 1}}
    with services.session() as session:
        assert session.execute(select(Tag.term_id, Tag.source, Tag.status)).all() == before
    assert effect(services, old, new, compare(old, new), most=1).left == 2


def test_the_working_copy_is_compared_with_what_the_catalogue_has(dam, folder, library):
    same = dam("taxonomy", "diff")
    assert (same.exit_code, same.stdout) == (0, "The vocabularies say the same.\n")
    edit(folder, ("    cat:\n", "    fox: {en: fox, broader: animal}\n    cat:\n"))
    told = dam("taxonomy", "diff")
    assert told.exit_code == 1
    assert "+ subject/fox: new: fox" in told.stdout
    assert "would touch 1 of 1 versions" in told.stdout
    assert "+ subject/fox: 1" in told.stdout
    as_json = json.loads(dam("taxonomy", "diff", "--json").stdout)
    assert as_json["effect"]["added"] == {"subject/fox": 1}
    two = dam("taxonomy", "diff", str(folder), str(PROJECT), "--terms-only")
    assert "- subject/fox: gone: fox" in two.stdout
    assert "would touch" not in two.stdout


def test_a_catalogue_without_a_vocabulary_and_a_folder_without_one_are_told(dam, tmp_path, folder):
    assert "no vocabulary yet" in dam("taxonomy", "diff").output
    (tmp_path / "empty").mkdir()
    assert "has no vocabulary.yaml" in dam("taxonomy", "diff", str(tmp_path / "empty")).output


def test_skos_goes_out_is_shown_first_and_written_when_told_to(dam, folder, tmp_path):
    out = tmp_path / "out.ttl"
    assert dam("taxonomy", "export", str(out)).exit_code == 0
    assert dam("taxonomy", "import", str(out)).stdout == "Nothing changes.\n"
    out.write_text(out.read_text().replace('"cat"@en', '"house cat"@en'))
    shown = dam("taxonomy", "import", str(out))
    assert "label (en): cat → house cat" in shown.stdout
    assert "say --write" in shown.stdout
    assert Taxonomy.load(folder).vocabulary.terms["subject/cat"].labels["en"] == "cat"
    assert "Written" in dam("taxonomy", "import", str(out), "--write").stdout
    assert Taxonomy.load(folder).vocabulary.terms["subject/cat"].labels["en"] == "house cat"
    assert (folder / "vocabulary.yaml").read_text().startswith("# The controlled vocabulary")
    as_json = tmp_path / "out.jsonld"
    assert dam("taxonomy", "export", str(as_json), "--format", "json-ld").exit_code == 0
    assert dam("taxonomy", "import", str(as_json)).stdout == "Nothing changes.\n"
    assert dam("taxonomy", "export", str(out), "--format", "xml").exit_code == 2


def test_check_tells_what_was_read(dam, folder):
    told = dam("taxonomy", "check").stdout
    assert "43 terms in 6 facets, 1 of them deprecated" in told
    assert "de, en, es, fr, it, ja, nl, pt-BR" in told
    assert "taggers: embedded, filename, brief, text, visible, learned" in told
    edit(folder, ("broader: animal\n", "broader: animol\n"))
    faulty = dam("taxonomy", "check")
    assert faulty.exit_code == 2
    assert "vocabulary.yaml:" in faulty.output
    assert "Did you mean 'animal'" in faulty.output
