"""A small public origin and CMS for one machine: real HTTP, for the demo and for tests.

Serves the origin store, in a folder or in S3, and logs in the combined format. With a CMS token it also keeps JSON
entries, as a content-management system would: idempotent by key, shown as pages, 410 once deleted. In
production a CDN or web server stands here.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import html
import json
import mimetypes
import os
import re
import signal
import sys
import threading
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from dam.errors import BadInput, DamError, NotFound
from dam.settings import Settings
from dam.storage import Storage, Store

TYPES = {".webp": "image/webp", ".avif": "image/avif", ".jpg": "image/jpeg", ".json": "application/json"}
_ENTRY = re.compile(r"/entries/([0-9a-f]{32})")
_API_ENTRY = re.compile(r"/api/entries/([0-9a-f]{32})")
LARGEST_BODY = 1 << 20


class Entries:
    """The CMS's entries, kept in a JSON file that is replaced at every change."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = threading.Lock()
        kept = json.loads(file.read_text()) if file.exists() else {"entries": {}, "keys": {}}
        self.entries: dict[str, dict[str, Any] | None] = kept["entries"]  # None: deleted
        self.keys: dict[str, str] = kept["keys"]

    def _save(self) -> None:
        scratch = self.file.with_suffix(".part")
        scratch.write_text(json.dumps({"entries": self.entries, "keys": self.keys}))
        scratch.replace(self.file)

    def add(self, key: str, body: dict[str, Any]) -> tuple[str, bool]:
        """Return the id of the entry with this idempotency key, and whether it is new."""
        with self.lock:
            if key and key in self.keys:
                return self.keys[key], False
            made = uuid.uuid4().hex
            self.entries[made] = body
            if key:
                self.keys[key] = made
            self._save()
            return made, True

    def delete(self, entry_id: str) -> bool:
        """Delete an entry; return whether there ever was one."""
        with self.lock:
            if entry_id not in self.entries:
                return False
            self.entries[entry_id] = None
            self._save()
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "dam-origin"
    server: OriginServer
    _sent = 0

    # ------------------------------------------------------------------------------------- answering

    def _send(
        self, status: int, body: bytes = b"", media_type: str = "text/plain", headers: dict[str, str] | None = None
    ) -> None:
        self._status, self._sent = status, 0 if self.command == "HEAD" else len(body)
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.server.log(self, status, self._sent)  # before the answer: who has it finds its line
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing here: :meth:`OriginServer.log` writes the access log."""

    # ------------------------------------------------------------------------------------- the public

    def do_GET(self) -> None:
        """Serve a file of the origin, or an entry's page."""
        path = unquote(urlsplit(self.path).path)
        if self.server.entries is not None and (match := _ENTRY.fullmatch(path)):
            self._entry(match[1])
            return
        body = self.server.find(path)
        if body is None:
            self._send(HTTPStatus.NOT_FOUND, b"Not found.\n")
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
            return
        suffix = Path(path).suffix.lower()
        media_type = TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
        self._send(HTTPStatus.OK, body, media_type, {"ETag": tag, "X-Content-Type-Options": "nosniff"})

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _entry(self, entry_id: str) -> None:
        entries = self.server.entries
        assert entries is not None
        if entry_id not in entries.entries:
            self._send(HTTPStatus.NOT_FOUND, b"Not found.\n")
            return
        body = entries.entries[entry_id]
        if body is None:
            self._send(HTTPStatus.GONE, b"This entry was removed.\n")
            return
        self._send(HTTPStatus.OK, _page(body).encode(), "text/html; charset=utf-8")

    # ---------------------------------------------------------------------------------------- the API

    def do_POST(self) -> None:
        """Add an entry, once for each idempotency key."""
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(min(length, LARGEST_BODY))
        if self._refused():
            return
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise TypeError
        except (ValueError, TypeError):
            self._json(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "the body must be a JSON object"})
            return
        assert self.server.entries is not None
        entry_id, is_new = self.server.entries.add(self.headers.get("Idempotency-Key", ""), body)
        told = {"id": entry_id, "url": f"{self.server.url}/entries/{entry_id}"}
        self._json(HTTPStatus.CREATED if is_new else HTTPStatus.OK, told)

    def do_DELETE(self) -> None:
        """Delete an entry; a deleted one is deleted again without complaint."""
        match = _API_ENTRY.fullmatch(urlsplit(self.path).path)
        if self._refused():
            return
        if match is None:
            self._json(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "name an entry"})
            return
        assert self.server.entries is not None
        found = self.server.entries.delete(match[1])
        self._send(HTTPStatus.NO_CONTENT if found else HTTPStatus.NOT_FOUND)

    def _refused(self) -> bool:
        """Answer a call that may not pass (no CMS, a made failure, a wrong token, a wrong path); say whether."""
        path = urlsplit(self.path).path
        wanted = f"Bearer {self.server.cms_token}".encode()
        if self.server.entries is None or not (path == "/api/entries" or _API_ENTRY.fullmatch(path)):
            self._json(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        elif self.server.fail_once():
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not now"})
        elif not hmac.compare_digest(self.headers.get("Authorization", "").encode(), wanted):
            self._json(HTTPStatus.UNAUTHORIZED, {"error": "send the bearer token"})
        else:
            return False
        return True


class OriginServer(ThreadingHTTPServer):
    """The server; as a context manager it runs in a thread and ``url`` is its address.

    :param store: the origin store. :param log: access log, appended to.
    :param port: 0 takes a free one. :param cms_token: switches the CMS on.
    :param cms_state: file of its entries, needed with a token.
    :param cms_fail_first: how many API calls answer 503 first.
    :raises BadInput: the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        *,
        store: Store,
        log: Path | None = None,
        port: int = 0,
        cms_token: str = "",
        cms_state: Path | None = None,
        cms_fail_first: int = 0,
    ) -> None:
        self.store = store
        self.cms_token = cms_token
        self.entries = Entries(cms_state) if cms_token and cms_state else None
        self._failures = cms_fail_first
        self._lock = threading.Lock()
        self._log = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise BadInput(
                f"port {port} is taken", where="origin", remedy="Choose another with --port, or stop that program."
            ) from error

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.server_port}"

    def find(self, path: str) -> bytes | None:
        """Return the bytes a URL path names; None when there are none, or it is hidden."""
        parts = path.lstrip("/").split("/")
        if any(part in ("", ".", "..") or part.startswith(".") or "\x00" in part for part in parts):
            return None
        try:
            return self.store.read("/".join(parts))
        except (NotFound, BadInput):
            return None

    def fail_once(self) -> bool:
        """Return whether this API call is one of those that fail, and count it."""
        with self._lock:
            self._failures -= 1
            return self._failures >= 0

    def log(self, request: _Handler, status: int, length: int) -> None:
        """Append one line in the combined log format; one write, so that lines never mix."""
        if self._log is None:
            return

        def quoted(name: str) -> str:
            return (request.headers.get(name) or "-").replace("\\", "\\\\").replace('"', '\\"')

        line = (
            f"{request.client_address[0]} - - [{datetime.now(UTC):%d/%b/%Y:%H:%M:%S %z}] "
            f'"{request.command} {request.path} {request.request_version}" {int(status)} {length or "-"} '
            f'"{quoted("Referer")}" "{quoted("User-Agent")}"\n'
        )
        os.write(self._log, line.encode("utf-8", "replace"))

    def __enter__(self) -> OriginServer:
        """Run in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop and close."""
        self.shutdown()
        self.server_close()
        if self._log is not None:
            os.close(self._log)
            self._log = None


def _page(body: dict[str, Any]) -> str:
    """Return an entry as a small page; every value is escaped."""
    title, image = html.escape(str(body.get("title") or "Untitled")), html.escape(str(body.get("image") or ""))
    alt, credit = html.escape(str(body.get("alt_text") or "")), html.escape(str(body.get("credit") or ""))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:18px/1.6 system-ui;max-width:50rem;margin:3rem auto;padding:0 1rem}img{width:100%}</style>"
        f'<h1>{title}</h1><figure><img src="{image}" alt="{alt}"><figcaption>{credit}</figcaption></figure></html>'
    )


def main() -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m dam.origin", description=__doc__)
    parser.add_argument("--storage", help="folder of the stores, or s3://bucket/prefix; default: DAM_STORAGE_URL")
    parser.add_argument("--log", type=Path, help="access log, combined format")
    parser.add_argument("--port", type=int, default=8088)
    parser.add_argument("--cms-token", default="", help="switches the CMS on")
    parser.add_argument("--cms-state", type=Path, help="file of the CMS's entries")
    given = parser.parse_args()
    try:
        known = {"catalog_url": "not needed"} | ({"storage_url": given.storage} if given.storage else {})
        settings = Settings.from_env(known)
        server = OriginServer(
            store=Storage(settings.storage_url, settings.storage_options).origin,
            log=given.log,
            port=given.port,
            cms_token=given.cms_token,
            cms_state=given.cms_state,
        )
    except DamError as error:
        sys.stderr.write(f"{error}\n")
        return 2

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(0.2)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
