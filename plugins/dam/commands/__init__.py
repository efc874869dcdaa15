"""Groups of commands, each in a file of its own; :mod:`dam.cli` brings them together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer

from dam.errors import DamError


def plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Tell a known error in plain words and end with code 2, without a traceback."""

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        from sqlalchemy.exc import OperationalError

        try:
            return function(*args, **kwargs)
        except DamError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0]
            typer.echo(f"The catalogue's database does not answer: {reason}\nStart it with: make up", err=True)
            raise typer.Exit(2) from error

    return told
