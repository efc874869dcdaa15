"""Sending with bounded retries, filling templates, and probing, over real HTTP."""

from __future__ import annotations

import hashlib
import socket
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dam.channels import Request, wire
from dam.errors import BadInput

POST = Request(method="POST", url="{base}/entries", headers={"X-Token": "{token}"}, body={"all": "{things}"})


def _send(base: str, waits: list[float], **kwargs: Any) -> httpx.Response:
    values = {"base": base, "token": "t0p", "things": [1, {"a": None}]}
    return wire.send(POST, values, channel="cms", key="k1", wait=waits.append, **kwargs)


def test_a_request_is_filled_and_carries_its_key(scripted):
    waits: list[float] = []
    assert _send(scripted.url, waits).json() == {}
    [seen] = scripted.seen
    assert (seen["method"], seen["path"]) == ("POST", "/entries")
    assert seen["body"] == {"all": [1, {"a": None}]}
    assert seen["headers"]["Idempotency-Key"] == "k1"
    assert seen["headers"]["X-Token"] == "t0p"
    assert waits == []


@pytest.mark.parametrize("broken", [500, 502, 503, 504, 429, 408, 0])
def test_what_may_pass_is_tried_again_with_growing_waits(scripted, broken: int):
    scripted.answers = [(broken, {}), (broken, {}), (201, {"id": 7})]
    waits: list[float] = []
    assert _send(scripted.url, waits).json() == {"id": 7}
    assert len(scripted.seen) == 3
    assert {seen["headers"]["Idempotency-Key"] for seen in scripted.seen} == {"k1"}
    assert waits == list(wire.WAITS[:2])
    assert waits == sorted(waits)


def test_trying_again_is_bounded(scripted):
    scripted.answers = [(503, b"closed for lunch")]
    waits: list[float] = []
    with pytest.raises(wire.ChannelUnavailable, match=r"failed 5 times.*503.*closed for lunch"):
        _send(scripted.url, waits)
    assert waits == list(wire.WAITS)
    assert len(scripted.seen) == len(wire.WAITS) + 1


def test_a_refused_connection_is_tried_again_and_named():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(wire.ChannelUnavailable, match=rf"channel cms.*127\.0\.0\.1:{port}/entries"):
        _send(f"http://127.0.0.1:{port}", waits)
    assert waits == list(wire.WAITS)


def test_a_timeout_is_tried_again(monkeypatch):
    monkeypatch.setattr(wire, "TIMEOUT", httpx.Timeout(0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        waits: list[float] = []
        with pytest.raises(wire.ChannelUnavailable, match="ReadTimeout"):
            _send(f"http://127.0.0.1:{silent.getsockname()[1]}", waits)
        assert waits == list(wire.WAITS)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 301])
def test_a_refusal_is_not_tried_again_and_says_everything(scripted, status: int):
    scripted.answers = [(status, b"title is too long " + b"x" * 5000)]
    waits: list[float] = []
    with pytest.raises(wire.ChannelRefused) as caught:
        _send(scripted.url, waits)
    for part in ("channel cms", f"{scripted.url}/entries", f"status {status}", "title is too long"):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "t0p" not in str(caught.value)
    assert len(scripted.seen) == 1
    assert waits == []


def test_an_accepted_status_is_success(scripted):
    scripted.answers = [(410, {})]
    assert _send(scripted.url, [], accept=frozenset({410})).status_code == 410


def test_a_url_that_is_none_is_named():
    with pytest.raises(BadInput, match=r"channel cms.*'/entries' is not an HTTP address"):
        _send("", [])


# ---------------------------------------------------------------------------------------- templates


def test_filling_keeps_types_and_mixes_text():
    template = {"a": "{n}", "b": ["no {n} of {word}", 3, None, True], "c": {"d": "{gone}"}}
    values = {"n": 5, "word": "six {n}", "gone": None}
    assert wire.fill(template, values, where="x") == {
        "a": 5,
        "b": ["no 5 of six {n}", 3, None, True],  # a value is never filled itself
        "c": {"d": None},
    }


def test_an_unknown_placeholder_names_the_known_ones():
    with pytest.raises(BadInput, match=r"channel cms: \{titel\} is not known.*Use one of: alt_text, title"):
        wire.fill("{titel}", {"title": 1, "alt_text": 2}, where="channel cms")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_characters="{}")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(json_values)
def test_a_template_without_placeholders_stays_as_it_is(template: Any):
    assert wire.fill(template, {}, where="x") == template


@given(json_values)
def test_a_lone_placeholder_becomes_the_very_value(value: Any):
    assert wire.fill({"x": "{v}"}, {"v": value}, where="x") == {"x": value}


@pytest.mark.parametrize(
    "pointer, found",
    [("/id", "7"), ("/data/0/links/self", "/e/7"), ("/a~1b", "slash"), ("/m~0n", "tilde")],
)
def test_json_pointers(pointer: str, found: str):
    document = {"id": 7, "data": [{"links": {"self": "/e/7"}}], "a/b": "slash", "m~n": "tilde"}
    assert wire.pointed(document, pointer, where="channel cms") == found


@pytest.mark.parametrize("pointer", ["/nothing", "/data/3", "/data/x", "/id/deeper", "/none"])
def test_a_pointer_to_nothing_is_named(pointer: str):
    with pytest.raises(BadInput, match=f"nothing at {pointer}"):
        wire.pointed({"id": 7, "data": [1], "none": None}, pointer, where="channel cms")


# -------------------------------------------------------------------------------------------- probes


def test_a_probe_says_who_it_is_and_passes_caches_by(scripted):
    scripted.answers = [(200, b"bytes")]
    found = wire.probe(f"{scripted.url}/a.webp")
    assert (found.status, found.sha256, found.dead) == (200, hashlib.sha256(b"bytes").hexdigest(), False)
    headers = scripted.seen[0]["headers"]
    assert headers["User-Agent"].startswith("airflow-dam-probe/")
    assert headers["Cache-Control"] == "no-cache, no-store"
    assert headers["Pragma"] == "no-cache"
    assert found.as_dict()["agent"] == headers["User-Agent"]
    assert scripted.seen[0]["path"] == "/a.webp"  # not made another URL by a cache-busting query


@pytest.mark.parametrize(
    "status, dead",
    [
        (404, True),
        (410, True),
        (200, False),
        (301, False),
        (302, False),
        (401, False),
        (403, False),
        (500, False),
    ],
)
def test_only_404_and_410_prove_death(scripted, status: int, dead: bool):
    scripted.answers = [(status, b"")]
    assert wire.probe(scripted.url).dead is dead
    assert len(scripted.seen) == 1  # a redirect is not followed


def test_no_answer_proves_nothing():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    found = wire.probe(url)
    assert (found.status, found.sha256, found.dead) == (None, None, False)
    assert "ConnectError" in found.problem


def test_probing_again_waits_for_what_lags_and_is_bounded(scripted):
    scripted.answers = [(200, b""), (200, b""), (404, b"")]
    waits: list[float] = []
    assert wire.probe_until(scripted.url, lambda found: found.dead, wait=waits.append).dead
    assert waits == list(wire.WAITS[:2])
    scripted.answers = [(200, b"")]
    waits.clear()
    assert not wire.probe_until(scripted.url, lambda found: found.dead, wait=waits.append).dead
    assert waits == list(wire.WAITS)
