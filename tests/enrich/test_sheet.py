"""What is missing as CSV: whatever is downloaded and filled in comes back the same, whatever program wrote it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

import world
from dam.catalog.models import Description, Grant, Version
from dam.enrich import contracts, sheet
from dam.errors import BadInput

NAMES = {name: name for name in ("id", "file", "title", "description", "alt text", "ends on")} | {
    "alt text": "alt_text",
    "ends on": "ends_on",
}
CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("=+-@'\"\n,;\t"), max_size=20).map(
    str.strip
)
FILLED = CELL.filter(lambda cell: cell not in ("", sheet.SETTLED))


@given(rows=st.lists(st.tuples(FILLED, FILLED, CELL, CELL), max_size=5))
def test_what_is_written_is_read_back_the_same(rows):
    data = sheet.compose(["id", "file", "title", "alt_text"], [list(row) for row in rows])
    told = sheet.parse(data, NAMES)
    assert told.faults == []
    names = ("id", "file", "title", "alt_text")
    meant = [{n: cell for n, cell in zip(names, row, strict=True) if cell not in ("", sheet.SETTLED)} for row in rows]
    assert [cells for _, cells in told.lines] == meant


@given(cell=FILLED)
def test_no_cell_is_a_formula(cell):
    data = sheet.compose(["id", "title"], [["ver_1", cell]])
    [_, [_, written]] = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert written[0] not in "=+-@\t\r"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encoding_delimiter_and_order_are_found_out(encoding, delimiter, end):
    lines = [
        ["Alt-Text", "ID", "ENDS ON"],
        ['Größe; €, – quoted "so"', "ver_1", "31.12.2027"],
        ["", "", ""],
        ["x", "ver_2"],
    ]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(lines)
    told = sheet.parse(out.getvalue().encode(encoding), NAMES)
    assert told.faults == []
    assert told.lines == [
        (2, {"alt_text": 'Größe; €, – quoted "so"', "id": "ver_1", "ends_on": "31.12.2027"}),
        (4, {"alt_text": "x", "id": "ver_2"}),
    ]


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2027-03-01", "2027-03-01"), ("2027-3-1", "2027-03-01"), ("01.03.2027", "2027-03-01"),
        ("1. 3. 2027", "2027-03-01"), ("31/12/2027", "2027-12-31"), ("12/31/2027", "2027-12-31"),
        ("05/05/2027", "2027-05-05"), ("03/04/2027", None), ("31.02.2027", None), ("1.3.27", None),
        ("soon", None), ("13/13/2027", None),
    ],
)  # fmt: skip
def test_a_date_is_read_only_when_it_is_one(cell, day):
    if day is None:
        with pytest.raises(BadInput, match=r"no date|two dates"):
            sheet.read_day("ends_on", cell)
    else:
        assert sheet.read_day("ends_on", cell) == day


def told(data):
    return [(fault.line, fault.column, fault.what) for fault in sheet.parse(data, NAMES).faults]


def test_faults_name_line_and_column_and_stop_nothing_before_them():
    assert told(b"id,titel,title,title\nver_1,,A,\n") == [
        (1, "titel", "is no field, and was left out"),
        (1, "title", "is there twice; the first one counts"),
    ]
    assert told(b'id,title\nver_1,"two\nlines"\nver_2,a,b\nver_3,c\n') == [
        (4, "", "has more cells than there are columns")
    ]
    broken = sheet.parse(b'id,title\nver_1,A\nver_2,"open\nver_3,C\n', NAMES)
    assert [cells["id"] for _, cells in broken.lines] == ["ver_1"]
    assert [fault.line for fault in broken.faults] == [3]
    for data, words in ((b"", "is empty"), (b"a,b\n1,2\n", "neither a column"), (b"\x81\x8d,\x00\xff", "")):
        with pytest.raises(BadInput, match=words):
            sheet.parse(data, NAMES)


# ----------------------------------------------------------------------------------------- a whole batch


@pytest.fixture
def batch_id(services, tmp_path):
    files = [
        world.picture(tmp_path, f"{name}_ACME_20270301_v01.jpg", seed=seed, xmp={})
        for seed, name in enumerate(("ONE", "TWO", "THREE"), start=1)
    ]
    made = world.drop(services, "drops/a", files)
    world.ingest(services, made)
    contracts.check(services, batch_id=made)
    return made


def table(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def write(rows, delimiter=",", encoding="utf-8-sig"):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(encoding)


FULL = {
    "title": "=A title", "description": "Shapes;\nsoft ones", "alt_text": "-Shapes", "creator": "@zoë",
    "copyright_notice": "© N", "licence": "NORTH-1", "holder": "Northlight", "territories": "DE | FR",
    "channels": "web; cms", "ends_on": "31.12.2031",
}  # fmt: skip


def test_a_sheet_has_just_what_is_missing_and_fills_it(services, batch_id):
    rows = table(sheet.download(services, batch_id=batch_id))
    assert [row["file"] for row in rows] == [f"{name}_ACME_20270301_v01.jpg" for name in ("ONE", "THREE", "TWO")]
    assert set(FULL) < set(rows[0])
    assert "width" not in rows[0]
    assert not any(row[name] for row in rows for name in FULL)
    for row in rows:
        row |= {name: sheet._guarded(cell) for name, cell in FULL.items()}  # as a spreadsheet keeps a text
    told = sheet.upload(services, batch_id=batch_id, data=write(rows, ";", "utf-16"), person="libby")
    assert told["faults"] == []
    assert sorted(told["complete"]) == sorted(row["id"] for row in rows)
    with services.session() as session:
        for row in rows:
            found = session.get(Description, row["id"])
            named = ("title", "description", "alt_text", "creator", "copyright_notice")
            assert {name: getattr(found, name) for name in named} == {name: FULL[name] for name in named}
            asset_id = session.get(Version, row["id"]).asset_id
            grant = session.query(Grant).filter_by(asset_id=asset_id).one()
            assert (grant.territories, grant.channels, str(grant.ends_on)) == (
                ["DE", "FR"],
                ["web", "cms"],
                "2031-12-31",
            )
    assert table(sheet.download(services, batch_id=batch_id)) == []


def test_a_sheet_sent_back_as_it_came_changes_nothing(services, batch_id):
    before = contracts.missing(services, batch_id=batch_id)
    told = sheet.upload(services, batch_id=batch_id, data=sheet.download(services, batch_id=batch_id), person="libby")
    assert (told["saved"], told["faults"]) == ([], [])
    assert contracts.missing(services, batch_id=batch_id) == before


def test_good_lines_are_saved_and_bad_ones_told(services, batch_id):
    rows = table(sheet.download(services, batch_id=batch_id))
    one, three, two = rows
    one |= FULL | {"description": "Shapes", "ends_on": "someday", "starts_on": "1/2/2027"}
    three |= {"title": "Three", "id": ""}  # known by its name
    two |= {"title": "Two", "licence": "NORTH-1"}
    unknown = [
        dict(three, file="nobody.jpg"),
        dict(two, id="ver_x"),
        dict(two),
        dict.fromkeys(two, "") | {"title": "?"},
    ]
    told = sheet.upload(services, batch_id=batch_id, data=write([*rows, *unknown]), person="libby")
    assert [(fault["line"], fault["column"], fault["what"]) for fault in told["faults"]] == [
        (2, "ends_on", "'someday' is no date"),
        (2, "starts_on", "'1/2/2027' may be two dates"),
        (4, "holder", "is missing"),
        (5, "file", "no version of this batch has this name"),
        (6, "id", "'ver_x' is no version of this batch"),
        (7, "id", "line 4 is of this version already"),
        (8, "id", "the line names no version"),
    ]
    with services.session() as session:
        titles = {version.filename[:3]: version.description.title for version in session.query(Version)}
    assert titles == {"ONE": None, "THR": "Three", "TWO": None}


def test_tags_are_read_by_label_or_id(services, batch_id):
    [version_id] = [row["version_id"] for row in contracts.missing(services, batch_id=batch_id)][:1]
    data = f"id;tags\n{version_id};Katze | subject/coffee\n".encode()
    assert sheet.upload(services, batch_id=batch_id, data=data, person="libby")["saved"] == [version_id]
    data = f"id,tags\n{version_id},Einhornstaub\n".encode()
    [fault] = sheet.upload(services, batch_id=batch_id, data=data, person="libby")["faults"]
    assert (fault["line"], fault["column"]) == (2, "tags")
    assert "no term of the vocabulary" in fault["what"]
