"""``dam taxonomy …``: check, try, compare, export and import the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dam.commands import plainly
from dam.errors import BadInput
from dam.services import Services
from dam.settings import PROJECT

app = typer.Typer(no_args_is_help=True, help="The taxonomy.")
_AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _tell(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


@app.command("check")
@plainly
def check() -> None:
    """Read everything in include/taxonomy and include/templates/workflow.yaml; a fault names file and line."""
    from dam.enrich.taggers import enabled

    services = Services.from_env()
    for line in services.taxonomy.check():
        typer.echo(line)
    enabled(services)
    for term in services.workflow.policy.people_shown:
        if term not in services.taxonomy.vocabulary:
            raise BadInput(
                f"{term!r} is no term of the vocabulary",
                where="include/templates/workflow.yaml: policy.people_shown",
                remedy="Name terms as facet/slug, e.g. subject/person.",
            )
    typer.echo(f"{len(services.workflow.people)} people, {len(services.workflow.seats)} seats")


@app.command("test")
@plainly
def pilot_(
    as_json: _AsJson = False, most: Annotated[int, typer.Option(help="List so many missing words.", min=1)] = 40
) -> None:
    """Try the vocabulary on the library: coverage, unused terms, missing words, ambiguous labels, tagger agreement."""
    from dam.enrich.pilot import pilot

    found = pilot(Services.from_env(), most=most)
    if as_json:
        _tell(found.as_dict())
        return
    for line in found.lines():
        typer.echo(line)


@app.command("diff")
@plainly
def diff(
    old: Annotated[Path | None, typer.Argument(help="A taxonomy folder; default: what the catalogue has.")] = None,
    new: Annotated[Path | None, typer.Argument(help="A taxonomy folder; default: the working copy.")] = None,
    as_json: _AsJson = False,
    terms_only: Annotated[bool, typer.Option("--terms-only", help="Don't ask what it would re-tag.")] = False,
    most: Annotated[int, typer.Option(help="Look at so many versions.", min=1)] = 5000,
) -> None:
    """Show what changed between two vocabularies, and what re-tagging it would cause. Ends with 1 when they differ."""
    from dam.taxonomy import files
    from dam.taxonomy.changes import compare
    from dam.taxonomy.mirror import mirrored

    services = Services.from_env()
    if old:
        before = files.read(_folder(old))
    else:
        with services.session() as session:
            known = mirrored(session)
        if known is None:
            raise BadInput("the catalogue has no vocabulary yet", remedy="Ingest something, or name two folders.")
        before = known
    after = files.read(_folder(new)) if new else services.taxonomy.vocabulary
    changes = compare(before, after)
    told: dict[str, Any] = {"changes": [change.as_dict() for change in changes]}
    if changes and not terms_only:
        from dam.enrich.effects import effect

        told["effect"] = effect(services, before, after, changes, most=most).as_dict()
    if as_json:
        _tell(told)
    else:
        for change in changes:
            typer.echo(str(change))
        if not changes:
            typer.echo("The vocabularies say the same.")
        for line in _effect_lines(told.get("effect")):
            typer.echo(line)
    raise typer.Exit(1 if changes else 0)


def _folder(path: Path) -> Path:
    """Return a taxonomy folder: the one named, or that inside it."""
    for folder in (path, path / "taxonomy", path / "include" / "taxonomy"):
        if (folder / "vocabulary.yaml").exists() or (folder / "vocabulary").is_dir():
            return folder
    raise BadInput("has no vocabulary.yaml", where=str(path), remedy="Name a taxonomy folder.")


def _effect_lines(effect: dict[str, Any] | None) -> list[str]:
    if effect is None:
        return []
    lines = [
        f"Re-tagging would touch {effect['versions']} of {effect['looked_at']} versions that may be concerned: "
        f"{sum(effect['added'].values())} tags more, {sum(effect['removed'].values())} less."
    ]
    if effect["left"]:
        lines.append(f"  {effect['left']} further versions were not looked at (--most).")
    for name, mark in (("added", "+"), ("removed", "-")):
        lines += [f"  {mark} {term_id}: {count}" for term_id, count in effect[name].items()]
    for sample in effect["samples"]:
        lines.append(f"  e.g. {sample['filename']} ({sample['version_id']})")
        lines += [f"    + {tag}" for tag in sample["added"]] + [f"    - {tag}" for tag in sample["removed"]]
    for term_id, who in effect["standing"].items():
        lines.append(f"  {term_id} is on versions still: {who['by_people']} by people, {who['by_taggers']} by taggers")
    return lines


@app.command("export")
@plainly
def export(
    file: Path,
    format_name: Annotated[str, typer.Option("--format", help="turtle or json-ld.")] = "turtle",
) -> None:
    """Write the vocabulary as SKOS."""
    from dam.taxonomy import skos

    vocabulary = _taxonomy().vocabulary
    file.write_text(skos.export(vocabulary, format_name), encoding="utf-8")
    typer.echo(f"{len(vocabulary.terms)} terms in {len(vocabulary.facets)} facets: {file}")


@app.command("import")
@plainly
def import_(
    file: Path,
    write: Annotated[bool, typer.Option("--write", help="Write it; otherwise it is only shown.")] = False,
    facet: Annotated[str, typer.Option(help="Facet for concepts that are in no scheme.")] = "imported",
) -> None:
    """Show what a SKOS file (Turtle, N-Triples, JSON-LD) would change in the vocabulary, and write it when told to.

    Facets that the file has are replaced by it; all others stay.
    """
    from dam.taxonomy import edit, skos
    from dam.taxonomy.changes import compare
    from dam.taxonomy.vocabulary import problems

    taxonomy = _taxonomy()
    current = taxonomy.vocabulary
    coming = skos.read(file, namespace=current.namespace, facet=facet)
    wanted = edit.merged(current, coming.vocabulary)
    for problem in problems(wanted):
        raise BadInput(problem.what, where=f"{file}: {'/'.join(map(str, problem.loc[1:3]))}", remedy=problem.remedy)
    changes = compare(current, wanted)
    for change in changes:
        typer.echo(str(change))
    for what, count in coming.left_out.items():
        typer.echo(f"left out: {count} × {what}")
    if not changes:
        typer.echo("Nothing changes.")
    elif write:
        for path in edit.write(taxonomy.folder, wanted):
            typer.echo(f"Written: {path}")
    else:
        typer.echo("Nothing is written yet: say --write.")


def _taxonomy() -> Any:
    """Return the taxonomy of ``DAM_INCLUDE`` or of the project; needs no catalogue."""
    import os

    from dam.taxonomy import Taxonomy

    return Taxonomy.load(Path(os.environ.get("DAM_INCLUDE") or PROJECT / "include") / "taxonomy")
