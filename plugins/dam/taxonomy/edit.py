"""Writes a changed vocabulary into its files: only what changed is touched, so that people's comments stay."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dam.errors import DamError
from dam.taxonomy import files
from dam.taxonomy.vocabulary import FacetData, TermData, Vocabulary, from_contents

#: A term is written on one line when it fits.
_WIDE = 118
_STEP = 2


def merged(current: Vocabulary, coming: Vocabulary) -> Vocabulary:
    """Return the current vocabulary with the facets that come: those it has are replaced, others stay."""
    facets = {**current.facet_contents, **coming.facet_contents}
    kept = {
        term_id: content
        for term_id, content in current.contents.items()
        if term_id.partition("/")[0] not in coming.facets
    }
    return from_contents({**kept, **coming.contents}, facets, current.namespace)


def write(folder: Path, wanted: Vocabulary) -> list[Path]:
    """Write what differs from the vocabulary in a folder into its files, and return the files that changed.

    A facet that is new there gets a file of its own. The files are as they were when anything goes wrong.
    """
    current = files.read(folder)
    before = {path: path.read_text(encoding="utf-8") for path in files.paths(folder)}
    after: dict[Path, str] = {}
    for path, text in before.items():
        if (changed := _edited(text, current, wanted)) != text:
            after[path] = changed
    for facet in wanted.facets:
        if facet not in current.facets:
            after[folder / "vocabulary" / f"{facet}.yaml"] = _new_file(facet, wanted)
    try:
        for path, text in after.items():
            _replace(path, text)
        if files.read(folder).contents != wanted.contents:
            raise DamError("the vocabulary could not be written as it was meant", where=str(folder))
    except DamError:
        for path in after:
            if path in before:
                _replace(path, before[path])
            else:
                path.unlink(missing_ok=True)
        raise
    return sorted(after)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".new", delete=False) as file:
        file.write(text)
    if path.exists():
        Path(file.name).chmod(path.stat().st_mode)
    else:
        Path(file.name).chmod(0o644)
    os.replace(file.name, path)  # noqa: PTH105 - atomic


# ------------------------------------------------------------------------------------------ as people write


def _written(vocabulary: Vocabulary, homes: Vocabulary | None = None) -> dict[str, dict[str, Any]]:
    """Return every term as it is written in a file.

    :param homes: where it writes a relation on one of two terms, it stays there; a new one is on the lesser id.
    """
    sides: dict[tuple[str, str], str] = {}
    for term_id, term in (homes or vocabulary).terms.items():
        for reference in term.related:
            other = reference if "/" in reference else f"{term_id.partition('/')[0]}/{reference}"
            sides.setdefault((min(term_id, other), max(term_id, other)), term_id)
    found = {}
    for term_id, content in vocabulary.contents.items():
        related = [
            other
            for other in content.get("related", [])
            if sides.get((min(term_id, other), max(term_id, other)), min(term_id, other)) == term_id
        ]
        found[term_id] = _term(term_id, content, related)
    return found


def _term(term_id: str, content: dict[str, Any], related: list[str]) -> dict[str, Any]:
    facet = term_id.partition("/")[0] + "/"
    told = _labels(content["labels"], set(TermData.model_fields))
    for name in ("alt", "hidden"):
        if content.get(name):
            told[name] = content[name]
    for name, others in (("broader", content.get("broader", [])), ("related", related)):
        short = [other.removeprefix(facet) for other in others]
        if short:
            told[name] = short[0] if len(short) == 1 else short
    told |= {name: _text(content[name]) for name in ("note", "definition") if content.get(name)}
    if matches := content.get("matches"):
        told["matches"] = matches[0] if len(matches) == 1 else matches
    if content.get("replaced_by"):
        told["replaced_by"] = content["replaced_by"].removeprefix(facet)
    elif content.get("deprecated"):
        told["deprecated"] = True
    if content.get("uri"):
        told["uri"] = content["uri"]
    return told


def _about(content: dict[str, Any]) -> dict[str, Any]:
    told = _labels(content.get("labels", {}), set(FacetData.model_fields))
    if content.get("note"):
        told["note"] = _text(content["note"])
    if content.get("uri"):
        told["uri"] = content["uri"]
    return told


def _labels(labels: dict[str, str], fields: set[str]) -> dict[str, Any]:
    """Return labels in short, those apart whose language is called like a field."""
    short = {language: label for language, label in labels.items() if language not in fields}
    rest = {language: label for language, label in labels.items() if language in fields}
    return short | ({"labels": rest} if rest else {})


def _text(texts: dict[str, str]) -> Any:
    return texts["en"] if set(texts) == {"en"} else texts


class _Dumper(yaml.SafeDumper):
    """YAML whose texts of several lines stay on one, with the breaks written out: safe to indent."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def _dumped(slug: str, told: dict[str, Any], indent: int) -> str:
    """Return a key with its value as YAML, without the first line's indentation and the last line's end."""
    known: dict[str, Any] = {"Dumper": _Dumper, "sort_keys": False, "allow_unicode": True, "width": 1_000_000}
    flat = f"{slug}: {yaml.dump(told, default_flow_style=True, **known).strip()}"
    if len(flat) + indent <= _WIDE and "\n" not in flat:
        return flat
    lines = yaml.dump({slug: told}, default_flow_style=None, indent=_STEP, **known).rstrip("\n").split("\n")
    return ("\n" + " " * indent).join(lines)


def _block(entries: dict[str, dict[str, Any]], indent: int) -> str:
    return "".join(f"{' ' * indent}{_dumped(key, told, indent)}\n" for key, told in entries.items())


def _new_file(facet: str, wanted: Vocabulary) -> str:
    written = {key.partition("/")[2]: told for key, told in _written(wanted).items() if key.startswith(f"{facet}/")}
    about = _about(wanted.facet_contents[facet])
    head = "about:\n" + _block({facet: about}, _STEP) if about else ""
    terms = _block(written, 2 * _STEP)
    return f"{head}facets:\n{' ' * _STEP}{facet}:\n{terms}" if terms else f"{head}facets:\n{' ' * _STEP}{facet}: {{}}\n"


# ------------------------------------------------------------------------------------------------ editing


@dataclass
class _Editor:
    """A text with replacements to be made, by position."""

    text: str
    edits: list[tuple[int, int, str]] = field(default_factory=list)

    def apply(self) -> str:
        text = self.text
        for start, end, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def end_of(self, node: yaml.Node) -> int:
        """Return where a node's own text ends, without the blank lines and comments that follow it."""
        end = int(node.end_mark.index)
        while True:
            line = self.text.rfind("\n", 0, end) + 1
            last = self.text[line:end].strip()
            if line <= node.start_mark.index or (last and not last.startswith("#")):
                return line + len(self.text[line:end].rstrip())
            end = line - 1

    def mapping(self, node: yaml.MappingNode, have: dict[str, Any], want: dict[str, Any], indent: int) -> None:
        """Turn a mapping's entries into those that are wanted."""
        if node.flow_style or not node.value:
            if have != want:
                self.edits.append((node.start_mark.index, self.end_of(node), "\n" + _block(want, indent).rstrip("\n")))
            return
        if not want:
            self.edits.append((node.start_mark.index, self.end_of(node), "{}"))
            return
        indent = node.value[0][0].start_mark.column
        last = 0
        for key, value in node.value:
            start, end = key.start_mark.index, self.end_of(value)
            last = max(last, end)
            if key.value not in want:
                line = self.text.rfind("\n", 0, start) + 1
                following = self.text.find("\n", end)
                self.edits.append((line, len(self.text) if following < 0 else following + 1, ""))
            elif have.get(key.value) != want[key.value]:
                self.edits.append((start, end, _dumped(key.value, want[key.value], indent)))
        new = {key: told for key, told in want.items() if key not in have}
        if new:
            following = self.text.find("\n", last)
            at = len(self.text) if following < 0 else following + 1
            self.edits.append((at, at, ("" if following >= 0 else "\n") + _block(new, indent)))


def _edited(text: str, current: Vocabulary, wanted: Vocabulary) -> str:
    """Return a file's text with what it holds as it is wanted."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return text
    editor = _Editor(text)
    sections = {key.value: value for key, value in root.value}
    have, want = _written(current), _written(wanted, current)
    mine = [key.value for key, _ in sections["facets"].value] if "facets" in sections else []
    for key, node in sections["facets"].value if mine else []:
        prefix = f"{key.value}/"
        editor.mapping(
            node,
            {term_id.removeprefix(prefix): told for term_id, told in have.items() if term_id.startswith(prefix)},
            {term_id.removeprefix(prefix): told for term_id, told in want.items() if term_id.startswith(prefix)},
            2 * _STEP,
        )
    known = {facet: _about(told) for facet, told in current.facet_contents.items() if told}
    coming = {facet: _about(told) for facet, told in wanted.facet_contents.items() if told}
    if "about" in sections:
        here = {key.value for key, _ in sections["about"].value}
        others = {facet for facet in known if facet not in here}
        editor.mapping(
            sections["about"],
            {facet: told for facet, told in known.items() if facet in here},
            {facet: told for facet, told in coming.items() if facet in here or (facet in mine and facet not in others)},
            _STEP,
        )
    elif new := {facet: told for facet, told in coming.items() if facet in mine and facet not in known}:
        editor.edits.append((0, 0, "about:\n" + _block(new, _STEP)))
    return editor.apply()
