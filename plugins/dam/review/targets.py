"""Where on a version an annotation points: W3C Web Annotation targets, parsed, checked and written out again.

A target is ``{"source": "urn:sha256:<of the version>", "selector": …}``; None is the whole version. A selector is a
place in the picture, a time or a page; a time and a page may be refined by a place (``refinedBy``).

==========================  ==============================================================================
box, pin                    FragmentSelector, Media Fragments, ``xywh=percent:x,y,w,h``; a pin has no size
polygon, freehand, arrow    SvgSelector, ``<svg viewBox="0 0 100 100">`` with one ``<polygon points>``,
                            ``<polyline points>`` or ``<line class="arrow" x1 y1 x2 y2>``
a moment, a span            FragmentSelector, Media Fragments, ``t=12.48``, ``t=12.48,15.2`` (seconds)
a page                      FragmentSelector, RFC 3778, ``page=3``
==========================  ==============================================================================

Places are in percent of width and height, so that they keep their place on a version of another size. Nothing of what
came in is stored: numbers are read, and a selector is written from them. What is stored parses to the same again.

Standards: W3C Web Annotation Data Model (2017), 4.2.1, 4.2.7 and 4.2.9; W3C Media Fragments URI 1.0; RFC 3778, 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dam.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

MEDIA_FRAGMENTS = "http://www.w3.org/TR/media-frags/"
PDF_FRAGMENTS = "http://tools.ietf.org/rfc/rfc3778"
SVG = "http://www.w3.org/2000/svg"
#: Points that a shape has at most, and characters that a selector's value has.
POINTS, LENGTH = 2000, 64_000
#: How far a player's clock may be beyond the end of what it plays, in seconds.
SLACK = 1
_NUMBER = r"[+-]?(?:\d{1,9}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?"
_THOUSANDTH = Decimal("0.001")
_HUNDRED = Decimal(100)
_MOST = Decimal(10_000_000)  # as seconds: a third of a year
_REMEDY = "Draw it again, or leave the place out: the note is about the whole version then."

Point = tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in percent of width and height; a pin has neither width nor height."""

    x: Decimal
    y: Decimal
    w: Decimal
    h: Decimal

    @property
    def kind(self) -> str:
        """``box`` or ``pin``."""
        return "box" if self.w else "pin"

    def selector(self) -> dict[str, Any]:
        """Return it as a selector."""
        return _fragment(MEDIA_FRAGMENTS, f"xywh=percent:{_told(self.x, self.y, self.w, self.h)}")


@dataclass(frozen=True, slots=True)
class Shape:
    """Points in percent of width and height: a ``polygon``, a ``polyline`` or a ``line`` (an arrow, to its end)."""

    kind: str
    points: tuple[Point, ...]

    def selector(self) -> dict[str, Any]:
        """Return it as a selector."""
        if self.kind == "line":
            (x1, y1), (x2, y2) = ((_plain(x), _plain(y)) for x, y in self.points)
            drawn = f'<line class="arrow" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
        else:
            drawn = f'<{self.kind} points="{" ".join(_told(x, y) for x, y in self.points)}"/>'
        return {"type": "SvgSelector", "value": f'<svg viewBox="0 0 100 100">{drawn}</svg>'}


@dataclass(frozen=True, slots=True)
class Time:
    """A moment in seconds, or a span with its end."""

    start: Decimal
    end: Decimal | None = None

    def selector(self) -> dict[str, Any]:
        """Return it as a selector."""
        both = (self.start,) if self.end is None else (self.start, self.end)
        return _fragment(MEDIA_FRAGMENTS, f"t={_told(*both)}")


@dataclass(frozen=True, slots=True)
class Page:
    """A page, counted from 1."""

    number: int

    def selector(self) -> dict[str, Any]:
        """Return it as a selector."""
        return _fragment(PDF_FRAGMENTS, f"page={self.number}")


@dataclass(frozen=True, slots=True)
class Place:
    """What a selector says: when or on which page, and where in the picture."""

    when: Time | Page | None
    where: Box | Shape | None

    def selector(self) -> dict[str, Any]:
        """Return it as a selector, the place as what refines time or page."""
        if self.when is None:
            assert self.where is not None
            return self.where.selector()
        outer = self.when.selector()
        return outer | {"refinedBy": self.where.selector()} if self.where else outer


def normalise(
    target: Any, *, sha256: str, seconds: float | None = None, pages: int | None = None
) -> dict[str, Any] | None:
    """Check a target that came from outside, and return it as we write it; None for the whole version.

    :param sha256: of the version, which is the target's source; a target without one is taken to mean it.
    :param seconds: how long the version plays, where that is known. :param pages: how many it has.
    :raises BadInput: it is no target, points at something else, or at a place that the version does not have.
    """
    if target is None:
        return None
    if not isinstance(target, dict):
        raise _bad("the target is no object")
    source = source_of(sha256)
    if target.get("source", source) != source:
        raise _bad("the target is another version than the one that is shown", remedy="Reload the page, then write.")
    if target.get("selector") is None:
        return None
    place = parse(target["selector"])
    _check_there(place.when, seconds, pages)
    return {"source": source, "selector": place.selector()}


def source_of(sha256: str) -> str:
    """Return the IRI by which targets name a version's bytes."""
    return f"urn:sha256:{sha256}"


def parse(selector: Any) -> Place:
    """Return what a selector says.

    :raises BadInput: it is none of ours, or a number is out of range.
    """
    outer = _one(selector)
    inner = selector.get("refinedBy")
    if isinstance(outer, Time | Page):
        if inner is None:
            return Place(outer, None)
        refined = _one(inner)
        if isinstance(refined, Time | Page) or inner.get("refinedBy") is not None:
            raise _bad("a time or a page is refined by one place in the picture only")
        return Place(outer, refined)
    if inner is not None:
        raise _bad("a place in the picture can't be refined")
    return Place(None, outer)


def describe(target: dict[str, Any] | None) -> str:
    """Return where a stored target points, in words: ``at 0:12.48, on a box at 10 %, 20 %``; empty for the whole."""
    if target is None:
        return ""
    place = parse(target["selector"])
    words = []
    if isinstance(place.when, Page):
        words.append(f"on page {place.when.number}")
    elif place.when is not None:
        span = "" if place.when.end is None else f" to {_clock(place.when.end)}"
        words.append(f"{'from' if span else 'at'} {_clock(place.when.start)}{span}")
    if place.where is not None:
        x, y = (place.where.x, place.where.y) if isinstance(place.where, Box) else place.where.points[-1]
        name = {"polygon": "shape", "polyline": "drawing", "line": "arrow"}.get(place.where.kind, place.where.kind)
        article = "an" if name == "arrow" else "a"
        words.append(f"{article} {name} {'ending ' if name == 'arrow' else ''}at {x:.0f} %, {y:.0f} %")
    return ", ".join(words)


# ---------------------------------------------------------------------------------------------- one selector


def _one(selector: Any) -> Box | Shape | Time | Page:
    """Return what one selector says, whatever refines it."""
    if not isinstance(selector, dict) or not isinstance(selector.get("value"), str):
        raise _bad("the selector is no object with a value")
    value = selector["value"]
    if len(value) > LENGTH:
        raise _bad("the shape has too many points")
    if selector.get("type") == "SvgSelector":
        return _svg(value)
    if selector.get("type") == "FragmentSelector":
        return _from_fragment(value, selector.get("conformsTo"))
    raise _bad("only FragmentSelector and SvgSelector are known")


def _from_fragment(value: str, conforms_to: Any) -> Box | Time | Page:
    name, _, told = value.partition("=")
    readers: dict[str, Callable[[str], Box | Time | Page]] = {"xywh": _box, "t": _time, "page": _page}
    if name not in readers:
        raise _bad("the fragment is neither xywh, t nor page")
    if conforms_to not in (None, PDF_FRAGMENTS if name == "page" else MEDIA_FRAGMENTS):
        raise _bad(f"the fragment {name}= does not conform to what it says")
    return readers[name](told)


def _box(told: str) -> Box:
    unit, _, numbers = told.partition(":")
    if unit != "percent":
        raise _bad("a box must be in percent of width and height")
    x, y, w, h = _numbers(numbers.split(","), 4)
    for name, number in (("left edge", x), ("upper edge", y), ("width", w), ("height", h)):
        _check_percent(number, f"the box's {name}")
    if bool(w) != bool(h):
        raise _bad("the box has no width or no height")
    if x + w > _HUNDRED + 2 * _THOUSANDTH or y + h > _HUNDRED + 2 * _THOUSANDTH:
        raise _bad("the box reaches beyond the picture")
    # both were rounded: what is over by that is cut off; never to nothing, which would make it a pin
    x, y = (min(at, _HUNDRED - _THOUSANDTH) if size else at for at, size in ((x, w), (y, h)))
    return Box(x, y, min(w, _HUNDRED - x), min(h, _HUNDRED - y))


def _time(told: str) -> Time:
    times = _numbers(told.removeprefix("npt:").split(","), 1, 2)
    if any(time < 0 for time in times):
        raise _bad("the time is before the beginning")
    if len(times) == 1 or times[0] == times[1]:
        return Time(times[0])
    if times[1] < times[0]:
        raise _bad("the span ends before it begins")
    return Time(*times)


def _page(told: str) -> Page:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", told):
        raise _bad("there is no such page")
    return Page(int(told))


def _svg(value: str) -> Shape:
    root = _element(value)
    if _name(root) != "svg" or root.get("viewBox", "").replace(",", " ").split() != ["0", "0", "100", "100"]:
        raise _bad('the shape is not in <svg viewBox="0 0 100 100">')
    drawn = list(root)
    if (
        len(drawn) != 1
        or len(drawn[0])
        or any((part or "").strip() for part in (root.text, drawn[0].text, drawn[0].tail))
    ):
        raise _bad("the drawing is not one shape")
    [shape] = drawn
    kind = _name(shape)
    allowed = {"polygon": {"points"}, "polyline": {"points"}, "line": {"x1", "y1", "x2", "y2", "class"}}.get(kind)
    if allowed is None:
        raise _bad("the shape is neither polygon, polyline nor line")
    if set(shape.attrib) - allowed or set(root.attrib) - {"viewBox"}:
        raise _bad("the shape has attributes that say more than where it is")
    if kind == "line":
        numbers = _numbers([shape.get(name, "") for name in ("x1", "y1", "x2", "y2")], 4)
    else:
        numbers = _numbers(shape.get("points", "").replace(",", " ").split(), *range(0, 2 * POINTS + 1, 2))
    return Shape(kind, _points(kind, numbers))


def _points(kind: str, numbers: list[Decimal]) -> tuple[Point, ...]:
    """Return a shape's points; one that is where the one before it is says nothing and is left out."""
    for number in numbers:
        _check_percent(number, "a point of the shape")
    points: list[Point] = []
    for point in zip(numbers[::2], numbers[1::2], strict=True):
        if not points or points[-1] != point:
            points.append(point)
    while kind == "polygon" and len(points) > 1 and points[0] == points[-1]:
        points.pop()  # it is closed anyway
    if len(points) < (3 if kind == "polygon" else 2):
        raise _bad("the shape has too few points")
    return tuple(points)


def _element(value: str) -> Element:
    """Return a document's root; what XML could do beside being a shape is refused."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(value, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise _bad("the shape is no SVG") from error
    return root


def _name(element: Element) -> str:
    """Return an element's name; the empty one where it is not SVG's."""
    tag = element.tag if isinstance(element.tag, str) else ""
    namespace, _, name = tag.rpartition("}")
    return name if namespace in ("", "{" + SVG) else ""


# --------------------------------------------------------------------------------------------------- numbers


def _numbers(told: list[str], *counts: int) -> list[Decimal]:
    """Return numbers in thousandths. :param counts: how many there may be."""
    if len(told) not in counts or not all(re.fullmatch(_NUMBER, one, re.ASCII) for one in told):
        raise _bad("the selector's numbers can't be read")
    numbers = [Decimal(one) for one in told]
    if any(abs(number) > _MOST for number in numbers):
        raise _bad("a number of the selector is beyond all measure")
    return [number.quantize(_THOUSANDTH) + 0 for number in numbers]  # + 0: there is no minus nought


def _check_percent(number: Decimal, what: str) -> None:
    if not 0 <= number <= _HUNDRED:
        raise _bad(f"{what} lies outside the picture")


def _check_there(when: Time | Page | None, seconds: float | None, pages: int | None) -> None:
    if isinstance(when, Page) and pages is not None and when.number > max(1, pages):
        raise _bad(f"it has {pages} pages")
    if isinstance(when, Time) and seconds is not None and (when.end or when.start) > Decimal(seconds) + SLACK:
        raise _bad(f"it plays {seconds:.1f} seconds")


def _told(*numbers: Decimal) -> str:
    return ",".join(_plain(number) for number in numbers)


def _plain(number: Decimal) -> str:
    """Return a number as it is written: ``12.5``, ``0``."""
    return f"{number.normalize():f}"


def _clock(seconds: Decimal) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{'0' if rest < 10 else ''}{_plain(rest)}"


def _fragment(standard: str, value: str) -> dict[str, Any]:
    return {"type": "FragmentSelector", "conformsTo": standard, "value": value}


def _bad(what: str, *, remedy: str = _REMEDY) -> BadInput:
    return BadInput(what, where="target", remedy=remedy)
