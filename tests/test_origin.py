"""The small public origin and CMS, over real HTTP."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx
import pytest

from dam.errors import BadInput
from dam.origin import OriginServer
from dam.storage.folder import FolderStore

TOKEN = {"Authorization": "Bearer t0p"}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "origin"
    (folder / "spring").mkdir(parents=True)
    (folder / "spring" / "hero.webp").write_bytes(b"RIFFxxxxWEBP")
    (folder / "spring" / ".part-1").write_bytes(b"half")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(root, tmp_path):
    with OriginServer(
        store=FolderStore("origin", root), log=tmp_path / "access.log", cms_token="t0p", cms_state=tmp_path / "cms.json"
    ) as made:
        yield made


def test_a_file_is_served_with_its_type_and_tag(server):
    reply = httpx.get(f"{server.url}/spring/hero.webp")
    assert (reply.status_code, reply.headers["content-type"], reply.content) == (200, "image/webp", b"RIFFxxxxWEBP")
    again = httpx.get(f"{server.url}/spring/hero.webp", headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304
    head = httpx.head(f"{server.url}/spring/hero.webp")
    assert (head.headers["content-length"], head.content) == ("12", b"")


ELSEWHERE = ["/../secret.txt", "/%2e%2e/secret.txt", "/spring/..%2f..%2fsecret.txt"]


@pytest.mark.parametrize("path", ["/", "/spring", "/spring/", "/nothing", "/spring/.part-1", *ELSEWHERE])
def test_nothing_else_is_served(server, path):
    reply = httpx.get(server.url + path)
    assert reply.status_code == 404
    assert b"secret" not in reply.content


def test_every_request_is_one_line_of_the_combined_format(server, tmp_path):
    httpx.get(f"{server.url}/spring/hero.webp", headers={"User-Agent": 'odd "agent"', "Referer": "http://x/"})
    httpx.get(f"{server.url}/nothing")
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert len(lines) == 2
    stamp = r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    rest = '"GET /spring/hero.webp HTTP/1.1" 200 12 "http://x/" "odd \\\\"agent\\\\""'
    assert re.match(stamp, lines[0])
    assert lines[0].endswith(rest.replace("\\\\", "\\"))


def test_an_entry_lives_once_per_key_until_it_is_deleted(server):
    keyed = TOKEN | {"Idempotency-Key": "k1"}
    body = {"title": "<b>Hero</b>", "image": f"{server.url}/spring/hero.webp", "alt_text": "x"}
    made = httpx.post(f"{server.url}/api/entries", json=body, headers=keyed)
    again = httpx.post(f"{server.url}/api/entries", json=body, headers=keyed)
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    page = httpx.get(made.json()["url"])
    assert "&lt;b&gt;Hero&lt;/b&gt;" in page.text
    entry = f"{server.url}/api/entries/{made.json()['id']}"
    assert httpx.delete(entry, headers=TOKEN).status_code == 204
    assert httpx.delete(entry, headers=TOKEN).status_code == 204
    assert httpx.get(made.json()["url"]).status_code == 410


def test_entries_survive_a_restart(root, tmp_path):
    made = {}
    for turn in range(2):
        with OriginServer(
            store=FolderStore("origin", root), cms_token="t0p", cms_state=tmp_path / "cms.json"
        ) as server:
            if turn == 0:
                made = httpx.post(f"{server.url}/api/entries", json={"title": "A"}, headers=TOKEN).json()
            assert httpx.get(f"{server.url}/entries/{made['id']}").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_the_api_needs_its_token(server, headers):
    assert httpx.post(f"{server.url}/api/entries", json={}, headers=headers).status_code == 401


def test_a_bad_body_is_told(server):
    assert httpx.post(f"{server.url}/api/entries", content=b"nonsense", headers=TOKEN).status_code == 422


def test_a_taken_port_is_told_plainly(root, server):
    with pytest.raises(BadInput, match="is taken"):
        OriginServer(store=FolderStore("origin", root), port=server.server_port)
    command = [sys.executable, "-m", "dam.origin", "--storage", str(root.parent), "--port", str(server.server_port)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_it(root):
    process = subprocess.Popen([sys.executable, "-m", "dam.origin", "--storage", str(root.parent), "--port", "0"])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
