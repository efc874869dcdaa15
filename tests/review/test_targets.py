"""Whatever selector comes in, what is kept is ours, safe, in range, and parses to the same again."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dam.errors import BadInput
from dam.review import targets
from fuzzing import examples

SHA = "ab" * 32
#: All that is ever written: numbers with three decimals at most, in forms of our own.
_N = r"\d{1,8}(?:\.\d{1,3})?"
OURS = re.compile(
    rf"xywh=percent:{_N},{_N},{_N},{_N}|t={_N}(?:,{_N})?|page=[1-9]\d*"
    rf'|<svg viewBox="0 0 100 100">(?:<poly(?:gon|line) points="{_N},{_N}(?: {_N},{_N})+"/>'
    rf'|<line class="arrow" x1="{_N}" y1="{_N}" x2="{_N}" y2="{_N}"/>)</svg>'
)
percent = st.floats(0, 100)
points = st.lists(st.tuples(percent, percent), min_size=3, max_size=40)


def kept(selector, **known):
    target = targets.normalise({"selector": selector}, sha256=SHA, **known)
    return target["selector"] if target else None


def fragment(value, **more):
    return {"type": "FragmentSelector", "value": value} | more


def svg(inside, root='viewBox="0 0 100 100"'):
    return {"type": "SvgSelector", "value": f"<svg {root}>{inside}</svg>"}


def check_ours(selector, *, inner=False):
    """What is stored: nothing but our own keys and forms, every percentage within the picture."""
    assert set(selector) <= {"type", "conformsTo", "value"} | (set() if inner else {"refinedBy"})
    value = selector["value"]
    assert OURS.fullmatch(value), value
    if "percent" in value or "<svg" in value:
        numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?", value.replace("0 0 100 100", ""))
        assert all(0 <= Decimal(number) <= 100 for number in numbers)
    if "percent" in value:
        x, y, w, h = (Decimal(number) for number in value.partition(":")[2].split(","))
        assert x + w <= 100
        assert y + h <= 100
    if inner:
        assert "t=" not in value
        assert "page=" not in value
    if "refinedBy" in selector:
        check_ours(selector["refinedBy"], inner=True)


def check(selector):
    """Take a selector that may be anything; what is kept of it, if anything is, keeps its form."""
    try:
        stored = kept(selector)
    except BadInput:
        return
    if stored is not None:
        check_ours(stored)
        assert kept(stored) == stored
        assert targets.describe({"source": "", "selector": stored})


@examples
@given(percent, percent, percent, percent)
def test_a_box_keeps_its_place(x, y, w, h):
    w, h = min(w, 100 - x), min(h, 100 - y)
    if round(w, 3) == 0 or round(h, 3) == 0:
        w = h = 0
    stored = kept(fragment(f"xywh=percent:{x},{y},{w},{h}"))
    check_ours(stored)
    assert kept(stored) == stored
    read = [float(number) for number in stored["value"].partition(":")[2].split(",")]
    assert read == pytest.approx([x, y, w, h], abs=0.0031)
    assert targets.parse(stored).where.kind == ("box" if w else "pin")


@examples
@given(points, st.sampled_from(["polygon", "polyline"]), st.sampled_from([",", " "]))
def test_a_drawing_keeps_its_points(drawn, kind, between):
    told = " ".join(f"{x}{between}{y}" for x, y in drawn)
    rounded = [(round(x, 3), round(y, 3)) for x, y in drawn]
    if len(set(rounded)) < 3:  # they are too few, when rounded
        return
    stored = kept(svg(f'<{kind} points="{told}"/>'))
    check_ours(stored)
    assert kept(stored) == stored
    place = targets.parse(stored).where
    assert place.kind == kind
    assert all(
        any(abs(float(x) - near_x) < 0.002 and abs(float(y) - near_y) < 0.002 for near_x, near_y in rounded)
        for x, y in place.points
    )


@examples
@given(st.tuples(percent, percent), st.tuples(percent, percent), st.floats(0, 3599), st.floats(0, 60))
def test_an_arrow_at_a_time_points_where_it_pointed(start, end, since, lasting):
    arrow = svg('<line x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*start, *end))
    if [round(number, 3) for number in start] == [round(number, 3) for number in end]:
        return
    stored = kept(fragment(f"t={since},{since + lasting}", refinedBy=arrow))
    check_ours(stored)
    assert kept(stored) == stored
    place = targets.parse(stored)
    assert float(place.when.start) == pytest.approx(since, abs=0.001)
    assert [float(number) for number in place.where.points[1]] == pytest.approx(end, abs=0.001)


# ---------------------------------------------------------------------------------------------------- fuzz

_words = st.sampled_from(
    ["xywh=", "percent:", "t=", "npt:", "page=", "1", "-0", "99.9999", "100.0005", "1e-7", "1e99", "NaN", "Infinity",
     "٣", ",", " ", "<svg", ' viewBox="0 0 100 100"', ">", "/>", "</svg>", "<polygon", "<line", ' points="', '"',
     ' x1="', "<script>alert(1)</script>", "<!DOCTYPE x>", "<?xml version='1.0'?>", "&x;", "\x00", "\ud800",
     ' onload="x"', ' xmlns="http://www.w3.org/2000/svg"', "<!--", "-->"]
)  # fmt: skip
_text = st.one_of(st.text(max_size=60), st.lists(_words, max_size=12).map("".join))
_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_selector = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["SvgSelector", "FragmentSelector", "CssSelector", None, 7]),
            "value": st.one_of(_text, _anything),
            "conformsTo": st.sampled_from([targets.MEDIA_FRAGMENTS, targets.PDF_FRAGMENTS, "x"]),
            "refinedBy": _anything,
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("FragmentSelector"), "value": st.sampled_from(["t=1", "t=1,2", "page=2"]), "refinedBy": inner}
    ),
    max_leaves=3,
)
many = settings(examples, max_examples=400)


@many
@given(st.one_of(_selector, _anything))
def test_whatever_comes_in_is_refused_or_is_ours(selector):
    check(selector)


@many
@given(_anything)
def test_a_target_that_is_anything_is_refused_or_is_ours(target):
    try:
        stored = targets.normalise(target, sha256=SHA)
    except BadInput:
        return
    assert stored is None or stored["source"] == f"urn:sha256:{SHA}"


@many
@given(st.data())
def test_a_good_drawing_that_was_meddled_with_is_refused_or_is_ours(data):
    whole = data.draw(
        st.sampled_from(
            ['<svg viewBox="0 0 100 100"><polygon points="1,1 9,1 5,9.5"/></svg>',
             '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><polyline points="1 1 2 2"/></svg>',
             '<svg viewBox="0 0 100 100"><line class="arrow" x1="0" y1="0" x2="50" y2="50.25"/></svg>']
        )
    )  # fmt: skip
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(whole)))
        whole = whole[:at] + data.draw(_words) + whole[at + data.draw(st.integers(0, 3)) :]
    check({"type": "SvgSelector", "value": whole})


EVIL = {
    "a script": '<polygon points="1,1 2,2 3,1"/><script>alert(1)</script>',
    "a script inside": '<polygon points="1,1 2,2 3,1"><script>alert(1)</script></polygon>',
    "a handler": '<polygon onclick="alert(1)" points="1,1 2,2 3,1"/>',
    "a style": '<polygon style="background:url(//x)" points="1,1 2,2 3,1"/>',
    "a move": '<polygon transform="translate(50)" points="1,1 2,2 3,1"/>',
    "HTML": "<foreignObject><img src='x'/></foreignObject>",
    "another picture": '<image href="//x/y.png"/>',
    "another name": '<polygon xmlns="http://x" points="1,1 2,2 3,1"/>',
    "words": '<polygon points="1,1 2,2 3,1"/>here',
    "a link": '<polygon points="url(#a)"/>',
    "two": '<polygon points="1,1 2,2 3,1"/><polygon points="1,1 2,2 3,1"/>',
    "nothing": "",
    "half a point": '<polygon points="1,1 2,2 3"/>',
    "outside": '<polygon points="1,1 2,2 300,1"/>',
}


@pytest.mark.parametrize("inside", EVIL.values(), ids=EVIL)
def test_a_drawing_is_one_shape_and_nothing_else(inside):
    with pytest.raises(BadInput):
        kept(svg(inside))


@pytest.mark.parametrize("before", [
    '<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>', '<!DOCTYPE svg SYSTEM "file:///etc/passwd">',
])  # fmt: skip
def test_a_drawing_declares_nothing(before):
    drawing = svg('<polygon points="1,1 2,2 3,1"/>')
    with pytest.raises(BadInput):
        kept(drawing | {"value": before + drawing["value"]})


def test_a_drawing_says_what_its_numbers_are_of():
    for root in ("", 'viewBox="0 0 1920 1080"', 'viewBox="0 0 100 100" onload="x"'):
        with pytest.raises(BadInput):
            kept(svg('<polygon points="1,1 2,2 3,1"/>', root))
    with pytest.raises(BadInput, match="percent"):
        kept(fragment("xywh=pixel:1,1,5,5"))


def test_a_drawing_of_any_depth_or_length_is_refused_quietly():
    deep = "<g>" * 15_000 + "</g>" * 15_000
    for inside in (deep[:63_000], '<polyline points="' + "1,1 2,2 " * 1001 + '"/>', "<" * 70_000):
        with pytest.raises(BadInput):
            kept(svg(inside))


@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        (fragment("xywh=percent:10,20,30.12345,40"), "xywh=percent:10,20,30.123,40"),
        (fragment("xywh=percent:-0.0001,1e-7,0,0", conformsTo=targets.MEDIA_FRAGMENTS), "xywh=percent:0,0,0,0"),
        (fragment("xywh=percent:66.6666,0,33.3336,1"), "xywh=percent:66.667,0,33.333,1"),
        (fragment("t=npt:12.4800"), "t=12.48"),
        (fragment("t=1,1.0001"), "t=1"),
        (fragment("page=3", conformsTo=targets.PDF_FRAGMENTS), "page=3"),
        (
            svg('<line x2="50" y2="5e1" x1=".5" y1="0"/>'),
            '<svg viewBox="0 0 100 100"><line class="arrow" x1="0.5" y1="0" x2="50" y2="50"/></svg>',
        ),
        (
            svg('<polygon points="1 1,2 2 2.0001 2,3 1 1,1"/>', f'xmlns="{targets.SVG}" viewBox="0,0,100,100"'),
            '<svg viewBox="0 0 100 100"><polygon points="1,1 2,2 3,1"/></svg>',
        ),
    ],
)  # fmt: skip
def test_what_is_meant_is_written_in_one_way(given_, stored):
    assert kept(given_)["value"] == stored


@pytest.mark.parametrize("value", [
    "t=5,4", "t=-1", "t=", "t=1,2,3", "page=0", "page=-1", "page=1.5", "xywh=percent:90,0,20,1", "xywh=percent:1,1,5,0",
    "xywh=percent:1,1,5", "xywh=percent:a,1,5,5", "t=1e30", "t=٣", "x=1", "",
])  # fmt: skip
def test_what_means_no_place_is_refused(value):
    with pytest.raises(BadInput):
        kept(fragment(value))


def test_a_place_is_one_that_the_version_has():
    assert kept(fragment("t=12.9"), seconds=12.5)["value"] == "t=12.9"  # a player's clock
    with pytest.raises(BadInput, match=r"plays 12\.5 seconds"):
        kept(fragment("t=1,14"), seconds=12.5)
    with pytest.raises(BadInput, match="2 pages"):
        kept(fragment("page=3"), pages=2)
    with pytest.raises(BadInput, match="another version"):
        targets.normalise({"source": "urn:sha256:00", "selector": fragment("page=1")}, sha256=SHA)


def test_a_time_is_refined_by_a_place_once():
    box = fragment("xywh=percent:1,1,2,2")
    assert kept(fragment("t=1", refinedBy=box))["refinedBy"]["value"] == "xywh=percent:1,1,2,2"
    for wrong in (
        fragment("t=1", refinedBy=fragment("t=2")),
        fragment("t=1", refinedBy=box | {"refinedBy": box}),
        box | {"refinedBy": box},
    ):
        with pytest.raises(BadInput):
            kept(wrong)


def test_the_whole_version_has_no_place():
    assert targets.normalise(None, sha256=SHA) is None
    assert targets.normalise({"source": f"urn:sha256:{SHA}"}, sha256=SHA) is None


def test_where_it_is_can_be_said_in_words():
    said = targets.describe({"selector": kept(fragment("t=72.48", refinedBy=fragment("xywh=percent:10,20,5,5")))})
    assert said == "at 1:12.48, a box at 10 %, 20 %"
    assert targets.describe({"selector": kept(fragment("t=5,65"))}) == "from 0:05 to 1:05"
    assert targets.describe({"selector": kept(fragment("page=3"))}) == "on page 3"
    assert targets.describe(None) == ""
    assert json.loads(json.dumps(kept(fragment("page=3")))) == kept(fragment("page=3"))
