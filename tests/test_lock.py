"""``requirements.txt`` is what ``pyproject.toml`` asks for, pinned, and what the tests run with."""

from __future__ import annotations

import importlib.metadata
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dam.settings import PROJECT


def pins() -> dict[str, str]:
    """Return name → version of every pin that applies to this Python."""
    found = {}
    for line in (PROJECT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                (specifier,) = requirement.specifier
                assert specifier.operator == "==", f"{line} is not pinned"
                found[canonicalize_name(requirement.name)] = specifier.version
    return found


def declared() -> list[Requirement]:
    """Return every requirement of pyproject.toml, extras included."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    texts = [
        *project["dependencies"],
        *(t for extra in project["optional-dependencies"].values() for t in extra),
    ]
    return [Requirement(text) for text in texts]


def test_every_declared_requirement_is_pinned_within_its_range():
    locked = pins()
    for requirement in declared():
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked: make lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} ≠ {version}: make lock"


def test_every_pin_is_needed_by_something():
    """A pin that nothing declared leads to any more means that the lock is stale."""
    reached: set[str] = set()
    todo = [(canonicalize_name(r.name), frozenset(r.extras)) for r in declared()]
    while todo:
        name, extras = todo.pop()
        key = f"{name}[{','.join(sorted(extras))}]"
        if key in reached:
            continue
        reached |= {key, name}
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            chosen = [{"extra": extra} for extra in (extras or {""})]
            if requirement.marker is None or any(requirement.marker.evaluate(c) for c in chosen):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    assert set(pins()) - reached == set(), "make lock"


def test_the_tests_run_with_the_locked_versions():
    wrong = {
        name: (importlib.metadata.version(name), version)
        for name, version in pins().items()
        if importlib.metadata.version(name) != version
    }
    assert wrong == {}
