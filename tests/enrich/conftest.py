"""A library over a copy of include/ that a test may change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dam.services import Services
from dam.settings import PROJECT


class Include:
    """A copy of include/, and services over it and the test's catalogue and stores."""

    def __init__(self, services: Services, folder: Path) -> None:
        self.plain = services
        self.folder = shutil.copytree(PROJECT / "include", folder)
        self.made: list[Services] = []

    def taggers(self, **changes: dict[str, Any]) -> None:
        """Change taggers by name; one that is not there is added."""
        path = self.folder / "taxonomy" / "taggers.yaml"
        told = yaml.safe_load(path.read_text())
        for name, change in changes.items():
            known = next((tagger for tagger in told["taggers"] if tagger["name"] == name), None)
            if known is None:
                told["taggers"].append({"name": name} | change)
            else:
                known.update(change)
        path.write_text(yaml.safe_dump(told, sort_keys=False))

    def only(self, **changes: dict[str, Any]) -> None:
        """Switch everything off but these."""
        path = self.folder / "taxonomy" / "taggers.yaml"
        told = yaml.safe_load(path.read_text())
        for tagger in told["taggers"]:
            tagger["enabled"] = tagger["name"] in changes
        path.write_text(yaml.safe_dump(told, sort_keys=False))
        self.taggers(**{name: change | {"enabled": True} for name, change in changes.items()})

    def vocabulary(self, edit: Callable[[dict[str, Any]], Any]) -> None:
        """Change the vocabulary: ``edit`` gets what the file holds."""
        path = self.folder / "taxonomy" / "vocabulary.yaml"
        told = yaml.safe_load(path.read_text())
        edit(told)
        path.write_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True))

    def services(self, **more: Any) -> Services:
        """Return services that read this folder as it is now."""
        made = Services(replace(self.plain.settings, include=self.folder), **more)
        self.made.append(made)
        return made


@pytest.fixture
def include(services: Services, tmp_path: Path) -> Iterator[Include]:
    """A copy of include/ to be changed."""
    made = Include(services, tmp_path / "include")
    yield made
    for other in made.made:
        other.engine.dispose()
