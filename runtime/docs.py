"""Writes ``DAGS.md`` from the DAGs' docstrings, schedules and tasks."""

from __future__ import annotations

import ast
from pathlib import Path

from dam.settings import PROJECT

TARGET = PROJECT / "DAGS.md"
#: The life of a version first, then what serves it.
ORDER = (
    "plan_brief", "create_assets", "inbox_watch", "ingest_batch", "review_package", "review_reminders",
    "activate_package", "measure_nightly", "archive_nightly", "licence_expiry_sweep", "retention_sweep",
)  # fmt: skip


def text() -> str:
    """Return the document; read from the files alone, so that it needs no Airflow."""
    files = {path.stem: path for path in (PROJECT / "dags").glob("*.py")}
    names = [*ORDER, *sorted(set(files) - set(ORDER))]
    parts = [
        "# The DAGs",
        "",
        "Written by `make docs` from the DAGs' docstrings, which Airflow shows as well. Change them there.",
        "",
        *(f"- [`{name}`](#{name})" for name in names),
    ]
    for name in names:
        docstring = ast.get_docstring(ast.parse(files[name].read_text())) or ""
        title, _, body = docstring.partition("\n")
        parts += [
            "",
            f'<a id="{name}"></a>',
            f"## {title.lstrip('# ')}",
            "",
            f"`dags/{name}.py`",
            body.rstrip(),
        ]
    return "\n".join(parts) + "\n"


def write(target: Path = TARGET) -> Path:
    """Write the document and return its path."""
    target.write_text(text())
    return target
