"""Naming, vocabulary and the faults of what people edit."""

from __future__ import annotations

import shutil
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dam.errors import BadInput
from dam.settings import PROJECT
from dam.taxonomy import Taxonomy, naming

CODE = st.from_regex(r"[A-Z0-9]{1,8}(-[A-Z0-9]{1,5}){0,2}", fullmatch=True)


@given(
    project=CODE,
    client=st.from_regex(r"[A-Z0-9]{1,8}", fullmatch=True),
    day=st.dates(min_value=date(1000, 1, 1)),
    version=st.integers(1, 9999),
    ext=st.sampled_from(["jpg", "tif", "mp4"]),
)
def test_a_conventional_name_survives_the_round_trip(project, client, day, version, ext):
    name = naming.FileName(project, client, day, version, ext)
    assert naming.parse(str(name)) == name


@given(st.text(max_size=40).filter(lambda text: not naming.PATTERN.fullmatch(text)))
def test_any_other_name_gets_a_reason_and_a_remedy(text):
    with pytest.raises(BadInput) as refused:
        naming.parse(text)
    assert refused.value.what
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("A_ACME_20270301_v01", "no usable extension"),
        ("A_ACME_v01.jpg", "3 parts"),
        ("a_ACME_20270301_v01.jpg", "PROJECT is capitals"),
        ("A_ACME_20271301_v01.jpg", "is no date"),
        ("A_ACME_20270301_v00.jpg", "count from v01"),
        ("A_ACME_20270301_1.jpg", "the version is v"),
    ],
)
def test_the_reason_names_the_part_that_is_wrong(name, words):
    with pytest.raises(BadInput, match=words):
        naming.parse(name)


def test_words_are_found_in_any_language_and_number():
    vocabulary = Taxonomy.load(PROJECT / "include" / "taxonomy").vocabulary
    assert vocabulary.find("Katze") == vocabulary.find("cats") == "subject/cat"
    assert vocabulary.find("gibberish") is None


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(PROJECT / "include" / "taxonomy", tmp_path / "taxonomy")


@pytest.mark.parametrize(
    ("file", "old", "new", "line_of", "remedy"),
    [
        ("vocabulary.yaml", "broader: animal\n", "broder: animal\n", "broder", "Did you mean 'broader'"),
        ("vocabulary.yaml", "broader: animal\n", "broader: animals\n", "animals", "Use one of"),
        ("limits.yaml", "max_megapixels: 400", "max_megapixels: many", "many", ""),
        ("contracts/image.yaml", "rule: present, remedy: Give", "rule: presence, remedy: Give", "presence", ""),
        ("metadata.yaml", "  title:", "  title: [", "", ""),
    ],
)
def test_a_fault_names_file_line_and_fix(folder, file, old, new, line_of, remedy):
    path = folder / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BadInput) as refused:
        Taxonomy.load(folder).check()
    assert file.rsplit("/", 1)[-1] in refused.value.where
    if line_of:
        line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if line_of in text)
        assert refused.value.where.endswith(f":{line}")
    assert remedy in refused.value.remedy
