"""What is missing as CSV, for spreadsheet programs, and back again.

Written plainly, read leniently: delimiter, encoding, order and case of columns are found out, dates and lists may
be written in several ways. A cell that a spreadsheet program would take for a formula is written with an
apostrophe before it (OWASP, CSV Injection), which is taken off again.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam.catalog.models import Version
from dam.enrich import contracts
from dam.errors import BadInput

if TYPE_CHECKING:
    from dam.services import Services

ID, FILE = "id", "file"
#: Stands where a version lacks nothing of the column; read as nothing said.
SETTLED = "–"
#: Most bytes of a sheet that is read.
MOST = 20_000_000
DATES = ("date_created", "starts_on", "ends_on")
LISTS = ("territories", "channels", "permissions", "duties")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class CellFault:
    """What is wrong with a sheet: line and column as people count them; no column when the whole line is meant."""

    line: int
    column: str
    what: str
    remedy: str = ""


@dataclass
class Sheet:
    """Lines of a sheet: line number, and cells by column name; empty cells are left out."""

    lines: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    faults: list[CellFault] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------- write


def download(services: Services, *, batch_id: str) -> bytes:
    """Return what a batch lacks as CSV (UTF-8 with byte order mark): a line a version, a column a missing field."""
    rows = contracts.missing(services, batch_id=batch_id)
    known = contracts.fillable(services)
    lacking = {row["version_id"]: contracts.to_fill(row["faults"]) for row in rows}
    columns = [name for name in known if any(name in names for names in lacking.values())]
    return compose(
        [ID, FILE, *columns],
        [
            [row["version_id"], row["filename"], *(_cell(row, name, lacking[row["version_id"]]) for name in columns)]
            for row in rows
        ],
    )


def compose(header: list[str], rows: list[list[str]]) -> bytes:
    """Return a table as CSV that spreadsheet programs open rightly and run nothing of."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows([[_guarded(cell) for cell in row] for row in rows])
    return out.getvalue().encode("utf-8-sig")


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _cell(row: dict[str, Any], name: str, lacking: list[str]) -> str:
    return as_text(row["values"].get(name)) if name in lacking else SETTLED


def as_text(value: Any) -> str:
    """Return a value as a cell says it."""
    return " | ".join(value) if isinstance(value, list) else "" if value is None else str(value)


# -------------------------------------------------------------------------------------------------- read


def upload(services: Services, *, batch_id: str, data: bytes, person: str, run: str | None = None) -> dict[str, Any]:
    """Fill in versions of a batch from a sheet. Good lines are saved, bad ones are told; empty cells say nothing.

    :param data: the sheet, at most :data:`MOST` bytes.
    :returns: as :func:`dam.enrich.contracts.fill_many`, and ``faults``: ``{"line", "column", "what", "remedy"}``.
    :raises BadInput: it can't be read as a sheet at all.
    """
    sheet = parse(data, _names(services))
    faults = list(sheet.faults)
    known = {row["version_id"]: row for row in contracts.missing(services, batch_id=batch_id)}
    lines: dict[str, int] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, version_id, cells in _of_versions(services, batch_id, sheet, faults):
        given, wrong = _given(number, cells, known.get(version_id))
        if version_id in lines:
            wrong = [CellFault(number, ID, f"line {lines[version_id]} is of this version already", "Keep one of them.")]
        faults += wrong
        lines.setdefault(version_id, number)
        if given and not wrong:
            values[version_id] = given
    told = contracts.fill_many(services, batch_id=batch_id, values=values, person=person, run=run)
    for version_id, fault in told["refused"].items():
        faults.append(CellFault(lines[version_id], fault["field"], fault["what"], fault["remedy"]))
    told["faults"] = [
        {"line": fault.line, "column": fault.column, "what": fault.what, "remedy": fault.remedy}
        for fault in sorted(faults, key=lambda fault: (fault.line, fault.column))
    ]
    return told


def _names(services: Services) -> dict[str, str]:
    """Return the columns by how they may be headed: our names, and IPTC's."""
    iptc = {_folded(data.iptc): name for name, data in services.taxonomy.metadata.fields.items()}
    return iptc | {_folded(name): name for name in (ID, FILE, *contracts.fillable(services))}


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())


def parse(data: bytes, names: dict[str, str]) -> Sheet:
    """Read a sheet: encoding and delimiter are found out, columns may stand in any order.

    :param names: column name by how it may be headed, folded.
    :raises BadInput: it is too large, no text, or has no column that says which version a line is of.
    """
    if len(data) > MOST:
        raise BadInput(f"has more than {MOST // 1_000_000} MB", where="sheet", remedy="Send it in parts.")
    text = _decoded(data)
    sheet = Sheet()
    rows = _rows(text, _delimiter(text, names), sheet)
    number, heads = next(rows, (0, []))
    if not heads:
        raise BadInput("is empty", where="sheet", remedy="Download what is missing, fill it in, and send that.")
    columns = _columns(number, heads, names, sheet)
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(heads) :]):
            sheet.faults.append(
                CellFault(number, "", "has more cells than there are columns", "Put a cell with a delimiter in quotes.")
            )
            continue
        told = {name: _unguarded(cells[at].strip()) for at, name in columns.items() if at < len(cells)}
        sheet.lines.append((number, {name: cell for name, cell in told.items() if cell not in ("", SETTLED)}))
    return sheet


def _decoded(data: bytes) -> str:
    """Return text of UTF-8, UTF-16 or Windows-1252, with or without byte order mark."""
    encoding = "utf-8-sig"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\x00" in data[:2]:
        encoding = "utf-16-be" if data[:1] == b"\x00" else "utf-16-le"
    for known in (encoding, "cp1252"):
        try:
            return data.decode(known)
        except UnicodeDecodeError:
            continue
    raise BadInput("is no text that can be read", where="sheet", remedy="Save it as CSV in UTF-8.")


def _delimiter(text: str, names: dict[str, str]) -> str:
    """Return the delimiter that gives the first line most columns that we know."""
    head = next((line for line in text.splitlines() if line.strip()), "")

    def known(delimiter: str) -> int:
        return sum(_folded(cell) in names for cell in next(csv.reader([head], delimiter=delimiter), []))

    return max(_DELIMITERS, key=known)


def _rows(text: str, delimiter: str, sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is not empty, with its cells; stop where the quotes are broken, and tell."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        sheet.faults.append(
            CellFault(
                start,
                "",
                f"can't be read ({error}), and nothing from here on was",
                "Mend its quotes, and send it again.",
            )
        )


def _columns(number: int, heads: list[str], names: dict[str, str], sheet: Sheet) -> dict[int, str]:
    """Return which column is which; unknown and repeated ones are told and left out."""
    found: dict[int, str] = {}
    for at, head in enumerate(heads):
        name = names.get(_folded(head))
        if name is not None and name not in found.values():
            found[at] = name
        elif head.strip():
            what = "there twice; the first one counts" if name else "no field, and was left out"
            near = [] if name else difflib.get_close_matches(_folded(head), names, n=1)
            sheet.faults.append(
                CellFault(number, head.strip(), f"is {what}", f"Did you mean {names[near[0]]!r}?" if near else "")
            )
    if not {ID, FILE} & set(found.values()):
        raise BadInput(
            f"has neither a column {ID!r} nor {FILE!r} in its first line",
            where=f"sheet, line {number}",
            remedy="Download what is missing, fill it in, and send that.",
        )
    return found


def _of_versions(
    services: Services, batch_id: str, sheet: Sheet, faults: list[CellFault]
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Yield each line with its version, found by id, or by file name where that is the only one of its name."""
    with services.session() as session:
        query = select(Version.id, Version.filename).where(Version.batch_id == batch_id)
        own = dict(session.execute(query.where(Version.asset_id.is_not(None))).all())
    for number, cells in sheet.lines:
        cells = dict(cells)
        version_id, filename = cells.pop(ID, ""), cells.pop(FILE, "")
        named = [known for known, name in own.items() if name == filename]
        if version_id in own:
            yield number, version_id, cells
        elif version_id:
            faults.append(CellFault(number, ID, f"{version_id!r} is no version of this batch"))
        elif len(named) == 1:
            yield number, named[0], cells
        elif filename:
            what = "several versions have this name" if named else "no version of this batch has this name"
            faults.append(CellFault(number, FILE, what, "Put its id into the line."))
        elif cells:
            faults.append(CellFault(number, ID, "the line names no version", "Put its id into the line."))


def _given(number: int, cells: dict[str, str], row: dict[str, Any] | None) -> tuple[dict[str, Any], list[CellFault]]:
    """Return what a line says that is not so already, and its faults. Rights are given together or not at all."""
    now = {name: as_text(value) for name, value in row["values"].items()} if row else {}
    changed = {name for name, cell in cells.items() if cell != now.get(name, "")}
    if changed & set(contracts.RIGHTS):
        changed |= set(cells) & set(contracts.RIGHTS)
    given: dict[str, Any] = {}
    faults = []
    for name in sorted(changed):
        try:
            given[name] = read_cell(name, cells[name])
        except BadInput as error:
            faults.append(CellFault(number, name, error.what, error.remedy))
    return given, faults


def read_cell(name: str, cell: str) -> Any:
    """Return what a cell says: a list for tags and lists, an ISO date for dates, else its text.

    :raises BadInput: a date can't be read.
    """
    if name == "tags" or name.startswith("tags."):
        return [word for word in map(str.strip, re.split(r"[|;\n]", cell)) if word]
    if name in LISTS:
        return [word for word in map(str.strip, re.split(r"[|;,\n]", cell)) if word]
    return read_day(name, cell) if name in DATES else cell


def read_day(name: str, cell: str) -> str:
    """Return a date as ISO: of 2027-03-01, 1.3.2027, or 31/12/2027 where no day could be taken for a month.

    Dots are read as in German, the day first. A date with slashes is read only when one part is above 12 or both
    are the same: the others are two days in the world.

    :raises BadInput: it is none of these.
    """
    fault = BadInput(f"{cell!r} is no date", where=name, remedy="Write it as 2027-03-01 or 01.03.2027.")
    if match := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", cell):
        year, month, day = map(int, match.groups())
    elif match := re.fullmatch(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})", cell):
        day, month, year = map(int, match.groups())
    elif match := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", cell):
        one, other, year = map(int, match.groups())
        if one <= 12 and other <= 12 and one != other:
            raise BadInput(f"{cell!r} may be two dates", where=name, remedy=fault.remedy)
        day, month = (one, other) if other <= 12 else (other, one)
    else:
        raise fault
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        raise fault from None
