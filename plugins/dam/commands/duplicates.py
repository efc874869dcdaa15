"""``dam duplicates …``: what looks or sounds like something else in the library."""

from __future__ import annotations

import typer

from dam.commands import plainly
from dam.services import Services

app = typer.Typer(no_args_is_help=True, help="What looks or sounds like something else in the library.")


@app.callback()
def group() -> None:
    """Keep ``find`` a command of its own, although it is the only one."""


@app.command("find")
@plainly
def find() -> None:
    """Compare films and sounds that came before they were compared at the gate; safe to stop and to run again."""
    from dam.ingest import near

    def told(done: int) -> None:
        if done % 1000 == 0:
            typer.echo(f"{done:,} …", err=True)

    done = near.catch_up(Services.from_env(), told=told)
    typer.echo(f"{done:,} films and sounds were compared; those alike are on the page Duplicates.")
