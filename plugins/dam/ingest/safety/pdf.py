"""PDFs: nothing in them may run, start a program, send data or carry one (ISO 32000, 12.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pikepdf

from dam.ingest.content import Content
from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.ingest.safety.programs import is_program

REMEDY = "Ask for it printed to a new PDF, which leaves the pages and nothing else."
#: Actions that are refused wherever they are.
_ACTIONS = {
    "/JavaScript": "runs a script",
    "/Launch": "starts a program",
    "/SubmitForm": "sends what is typed into it elsewhere",
    "/ImportData": "reads data from elsewhere",
}
#: Actions that are a person's choice when they follow a link, but not by themselves.
_BY_ITSELF = {
    "/URI": "opens a web page by itself",
    "/GoToR": "opens another file by itself",
    "/GoToE": "opens a file that is attached to it by itself",
    "/Rendition": "plays something by itself",
    "/Movie": "plays something by itself",
    "/RichMediaExecute": "runs a script",
}
#: Objects looked at, and how deep into those that are written inside others.
MOST_OBJECTS, _DEPTH = 2_000_000, 24


def check(content: Content) -> list[str]:
    """Go through every object of a PDF.

    :returns: notes on what it carries and is harmless.
    :raises Unusable: it is locked, damaged beyond reading, or does more than show pages.
    """
    try:
        with pikepdf.open(str(content.path)) as pdf:
            notes = ["Its sender restricted printing or copying."] if pdf.is_encrypted else []
            _by_itself(pdf)
            for at, thing in enumerate(pdf.objects):
                if at > MOST_OBJECTS:
                    raise Unusable("The PDF has more objects than are looked at here.", remedy=REMEDY)
                _judge(pdf, thing)
            return notes + _attachments(pdf)
    except pikepdf.PasswordError as error:
        raise Unusable("The PDF is locked with a password.", remedy="Ask for one without a password.") from error
    except (pikepdf.PdfError, pikepdf.ForeignObjectError, pikepdf.DeletedObjectError) as error:
        raise Unusable(
            f"The PDF is damaged: its structure can't be read ({_plain(error)}).",
            remedy=AGAIN,
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError, RecursionError) as error:
        raise Unusable("The PDF is damaged: its structure contradicts itself.", remedy=AGAIN) from error


def _plain(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else "no detail"
    return text.rpartition(": ")[2]


def _by_itself(pdf: pikepdf.Pdf) -> None:
    """Refuse what happens without a click: on opening it, or on an event."""
    root = pdf.Root
    for key, when in (("/OpenAction", "when it is opened"), ("/AA", "on an event")):
        if key in root:
            _automatic(root[key], when)
    names = root.get("/Names")
    if isinstance(names, pikepdf.Dictionary) and "/JavaScript" in names:
        raise Unusable("The PDF runs a script when it is opened.", remedy=REMEDY)
    form = root.get("/AcroForm")
    if isinstance(form, pikepdf.Dictionary) and "/XFA" in form:
        raise Unusable("The PDF is a form that is made up while it is shown (XFA).", remedy=REMEDY)


def _automatic(thing: Any, when: str) -> None:
    for action in _actions(thing):
        kind = str(action.get("/S"))
        if told := _ACTIONS.get(kind) or _BY_ITSELF.get(kind):
            raise Unusable(f"The PDF {told}, {when}.", remedy=REMEDY)


def _actions(thing: Any, depth: int = 0) -> Iterator[pikepdf.Dictionary]:
    """Yield an action, those that follow it, and those of a table of events."""
    if depth > _DEPTH:
        return
    if isinstance(thing, pikepdf.Array):
        for part in thing:
            yield from _actions(part, depth + 1)
    elif isinstance(thing, pikepdf.Dictionary):
        if "/S" in thing:
            yield thing
            yield from _actions(thing.get("/Next"), depth + 1)
        else:
            for _event, part in thing.items():
                yield from _actions(part, depth + 1)


def _judge(pdf: pikepdf.Pdf, thing: Any, depth: int = 0) -> None:
    """Look for actions in an object and in those written inside it; others have their own turn."""
    if depth > _DEPTH:
        return
    if isinstance(thing, pikepdf.Array):
        parts = list(thing)
    elif isinstance(thing, pikepdf.Dictionary | pikepdf.Stream):
        parts = [value for _key, value in thing.items()]
        _judge_table(pdf, thing)
    else:
        return
    for part in parts:
        if isinstance(part, pikepdf.Object) and not part.is_indirect:
            _judge(pdf, part, depth + 1)


def _judge_table(pdf: pikepdf.Pdf, thing: Any) -> None:
    kind = thing.get("/S")
    if isinstance(kind, pikepdf.Name) and (told := _ACTIONS.get(str(kind))) and _is_action(thing):
        raise Unusable(f"The PDF {told}{_where(pdf, thing)}.", remedy=REMEDY)
    if "/JS" in thing and thing.get("/S") in (pikepdf.Name.Rendition, pikepdf.Name.JavaScript, None):
        raise Unusable(f"The PDF runs a script{_where(pdf, thing)}.", remedy=REMEDY)
    if "/OnInstantiate" in thing:
        raise Unusable("The PDF has a 3D model that runs a script.", remedy=REMEDY)
    if "/AA" in thing:
        _automatic(thing["/AA"], f"on an event{_where(pdf, thing)}")
    if thing.get("/Subtype") == pikepdf.Name.RichMedia:
        raise Unusable(f"The PDF has a part that runs a player{_where(pdf, thing)}.", remedy=REMEDY)


def _is_action(thing: Any) -> bool:
    """Return whether a dictionary with ``/S`` is an action; structure elements have one, too."""
    return thing.get("/Type") in (None, pikepdf.Name.Action)


def _where(pdf: pikepdf.Pdf, thing: Any) -> str:
    """Say on which page a thing is, where a page's annotations hold it."""
    wanted = thing.objgen
    for number, page in enumerate(pdf.pages, start=1):
        if wanted != (0, 0) and page.obj.objgen == wanted:
            return f", on page {number}"
        annotations = page.obj.get("/Annots")
        for note in annotations if isinstance(annotations, pikepdf.Array) else ():
            if not isinstance(note, pikepdf.Dictionary):
                continue
            inside = [note, note.get("/A"), note.get("/AA"), note.get("/PA")]
            if any(_same(part, thing) for part in inside):
                return f", on page {number}"
    return ""


def _same(part: Any, thing: Any) -> bool:
    if not isinstance(part, pikepdf.Dictionary):
        return False
    if thing.objgen != (0, 0) or part.objgen != (0, 0):
        return bool(part.objgen == thing.objgen)
    return bool(part == thing)


def _attachments(pdf: pikepdf.Pdf) -> list[str]:
    """Name the files it carries. :raises Unusable: one is a program."""
    names = []
    for name, attached in pdf.attachments.items():
        try:
            start = attached.get_file().read_bytes()[:4096]
        except (pikepdf.PdfError, ValueError, RuntimeError):
            start = b""
        if told := is_program(start, attached.filename or name):
            raise Unusable(f"The PDF carries {told}: “{attached.filename or name}”.", remedy=REMEDY)
        names.append(attached.filename or name)
    return [f"It carries attached files: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}."] if names else []
