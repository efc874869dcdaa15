"""The vocabulary's files: ``vocabulary.yaml``, and beside it any ``vocabulary/*.yaml``, a facet each or several."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field, model_validator

from dam.errors import BadInput
from dam.load import line_of, load
from dam.taxonomy.vocabulary import FacetData, Slug, Strict, TermData, Uri, Vocabulary, problems


class Part(Strict):
    """What one file says."""

    namespace: Uri | None = None
    about: dict[Slug, FacetData] = Field(default_factory=dict)
    facets: dict[Slug, dict[Slug, TermData]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: object) -> object:
        return {} if data is None else data


def paths(folder: Path) -> list[Path]:
    """Return the vocabulary's files in a taxonomy folder."""
    more = sorted((folder / "vocabulary").glob("*.yaml"))
    first = folder / "vocabulary.yaml"
    return [first, *more] if first.exists() or not more else more


def read(folder: Path) -> Vocabulary:
    """Return the vocabulary of a taxonomy folder; it is kept until a file changes.

    :raises BadInput: a fault, with file, line and remedy.
    """
    stamps = []
    for path in paths(folder):
        known = path.stat() if path.exists() else None
        stamps.append((path, known.st_mtime_ns if known else 0, known.st_size if known else 0))
    return _read(tuple(stamps))


@lru_cache(maxsize=8)
def _read(stamps: tuple[tuple[Path, int, int], ...]) -> Vocabulary:
    parts = {path: load(path, Part) for path, _, _ in stamps}
    homes: dict[str, Path] = {}
    for path, part in parts.items():
        for facet in part.facets:
            if facet in homes:
                raise BadInput(
                    f"the facet {facet} stands in {homes[facet].name} already",
                    where=_line(path, ("facets", facet)),
                    remedy="Bring its terms together in one file.",
                )
            homes[facet] = path
    spaces = {path: part.namespace for path, part in parts.items() if part.namespace}
    if len(set(spaces.values())) > 1:
        path = list(spaces)[1]
        raise BadInput("namespace differs from another file's", where=_line(path, ("namespace",)), remedy="Keep one.")
    if not homes:
        raise BadInput("there is no facet", where=str(stamps[0][0]), remedy="Add one with a term.")
    vocabulary = Vocabulary.model_validate(
        {
            "facets": {facet: terms for part in parts.values() for facet, terms in part.facets.items()},
            "about": {facet: told for part in parts.values() for facet, told in part.about.items()},
        }
        | ({"namespace": next(iter(spaces.values()))} if spaces else {})
    )
    for problem in problems(vocabulary):
        facet = str(problem.loc[1])
        path = homes.get(facet) or next(path for path, part in parts.items() if facet in part.about)
        raise BadInput(problem.what, where=_line(path, problem.loc), remedy=problem.remedy)
    return vocabulary


def _line(path: Path, loc: tuple[str | int, ...]) -> str:
    return f"{path}:{line_of(path.read_text(encoding='utf-8'), loc)}"
