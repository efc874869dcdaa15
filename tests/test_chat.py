"""Chat over a real webhook: what it is given, what it is never told, and that it may fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from catchers import ChatRoom, chat_server
from dam import chat
from dam.services import Services
from dam.settings import Settings


@pytest.fixture
def room() -> Iterator[tuple[ChatRoom, str]]:
    with chat_server() as found:
        yield found


def _with(services: Services, url: str) -> Services:
    return Services(replace(services.settings, chat_url=url))


def test_slack_and_its_kin_are_given_text(services: Services, room: tuple[ChatRoom, str]):
    got, url = room
    assert chat.post(_with(services, url), "4 hours left", link="https://dam.test/dam/packages/pkg_1")
    assert got.bodies == [{"text": "4 hours left\nhttps://dam.test/dam/packages/pkg_1"}]
    assert got.paths == ["/hooks/s3cret"]


def test_no_name_calls_the_room_together_or_hides_a_link(services: Services, room: tuple[ChatRoom, str]):
    got, url = room
    chat.post(_with(services, url), "<!channel> @here <https://evil.test|Sign here> R&D")
    [told] = got.texts
    assert "<" not in told
    assert "@here" not in told
    assert told.endswith("R&amp;D")


def test_teams_is_given_a_card(services: Services, room: tuple[ChatRoom, str], monkeypatch: pytest.MonkeyPatch):
    got, url = room
    monkeypatch.setattr(chat, "_TEAMS", ("127.0.0.1",))
    chat.post(_with(services, url), "4 hours left", link="https://dam.test/x", button="Open the review room")
    [attachment] = got.bodies[0]["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["body"][0]["text"] == "4 hours left"
    assert attachment["content"]["actions"] == [
        {"type": "Action.OpenUrl", "title": "Open the review room", "url": "https://dam.test/x"}
    ]


def test_without_a_webhook_nothing_is_posted(services: Services):
    assert not chat.post(services, "4 hours left")


def test_a_webhook_that_fails_is_told_without_its_secret(services: Services, room: tuple[ChatRoom, str]):
    got, url = room
    got.status, got.said = 404, f"no hook at {url}"
    with pytest.raises(chat.ChatFailed, match="answered 404") as refused:
        chat.post(_with(services, url), "x")
    with pytest.raises(chat.ChatFailed, match="was not reached") as down:
        chat.post(_with(services, "http://127.0.0.1:9/hooks/s3cret"), "x")
    with pytest.raises(chat.ChatFailed, match="no web address") as odd:
        chat.post(_with(services, "file:///hooks/s3cret"), "x")
    for found in (refused, down, odd):
        assert "s3cret" not in str(found.value)
    assert "s3cret" not in repr(_with(services, url).settings)


@pytest.mark.parametrize(
    "uri",
    [
        "http://:https%3A%2F%2Fhooks.test%2Fservices%2FT0%2FB0%2Fxyz%3Fa%3Db@",  # as the connection's password
        "https://hooks.test/services%2FT0%2FB0%2Fxyz?a=b",  # as the connection itself
    ],
)
def test_an_airflow_connection_names_the_webhook(uri: str):
    known = {"dam_catalog": "postgresql://x/y", "dam_storage": "file:///x", "dam_chat": uri}
    assert Settings.from_connections(known.get).chat_url == "https://hooks.test/services/T0/B0/xyz?a=b"
