"""Real servers that keep what they are given: a mail server and a chat room's webhook."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Inbox:
    """What the SMTP server was given; addresses at ``gone.example`` are refused, and all while it is ``full``."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.full = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@gone.example"):
            return "550 no such person"
        if self.full:
            return "452 no room"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.rcpt_tos, message))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Inbox, str]]:
    """Run a mail server; yields what it keeps, and its URL."""
    handler = Inbox()
    with socket.create_server(("127.0.0.1", 0)) as free:  # the controller can't take port 0
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield handler, f"smtp://127.0.0.1:{port}"
    finally:
        controller.stop()


class ChatRoom:
    """What a webhook was given: bodies in order. It answers ``status``, with ``said``."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.said = "ok"

    @property
    def texts(self) -> list[str]:
        return [str(body["text"]) for body in self.bodies]


@contextmanager
def chat_server() -> Iterator[tuple[ChatRoom, str]]:
    """Run a webhook; yields what it keeps, and its URL."""
    room = ChatRoom()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if room.status == 200:
                room.bodies.append(body)
                room.paths.append(self.path)
            self.send_response(room.status)
            if room.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(room.said.encode())

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield room, f"http://127.0.0.1:{server.server_port}/hooks/s3cret"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
