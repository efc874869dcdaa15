"""Inspectors: one module a family of formats; each proves by a full decode that a file can be used.

An inspector is a function ``inspect(job, found) -> Inspection``. It raises
:class:`~dam.ingest.inspection.Unusable` for a file that is damaged or unsafe, with a sentence for the person
who must ask for a new one, and :class:`~dam.ingest.inspection.CantCheck` for one it has no decoder for. It
runs in the decoding process: it may crash, hang or eat memory without taking the worker along.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job

Inspector = Callable[[Job, Format], Inspection]

#: Which module of this package looks into which kind of file (:attr:`dam.ingest.formats.Format.inspector`).
MODULES = ("raster", "av", "svg", "pdf", "postscript", "font", "office", "model", "text")


def inspector(name: str) -> Inspector:
    """Return the inspector of that name, its libraries loaded on first use. :raises CantCheck: there is none."""
    if name not in MODULES:
        raise CantCheck("The format is not known here, so the file was kept as it is; a person must say what it is.")
    found: Inspector = import_module(f"dam.ingest.inspectors.{name}").inspect
    return found
