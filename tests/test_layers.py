"""Imports point down only: dags → dam_operators → dam, dam_web → dam; DAG files import nothing heavy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dam.settings import PROJECT

PLUGINS = PROJECT / "plugins"
HEAVY = {"great_expectations", "pandas", "PIL", "pyvips", "boto3", "sqlalchemy", "numpy", "pyexiv2"}


def imports(path: Path, *, module_level: bool = False) -> set[str]:
    """Return the top-level names of the packages a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if module_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("dam", {"airflow", "dam_operators", "dam_web", "runtime", "dags"}),
        ("dam_operators", {"dam_web", "runtime", "dags"}),
        ("dam_web", {"dam_operators", "runtime", "dags"}),
    ],
)
def test_imports_point_down(folder, forbidden):
    files = list((PLUGINS / folder).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(PLUGINS)): imports(path) & forbidden for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_dag_files_only_wire():
    files = list((PROJECT / "dags").glob("*.py"))
    assert files
    for path in files:
        assert imports(path) <= {"airflow", "dam_operators"}, path.name
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        assert functions == [], f"{path.name} has logic of its own"


def test_operators_import_nothing_heavy_at_module_level():
    for path in (PLUGINS / "dam_operators").glob("*.py"):
        if path.stem != "preload":  # that is what it is for; DAG files do not import it
            assert not imports(path, module_level=True) & HEAVY, path.name
