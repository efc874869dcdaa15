"""A mail server that keeps what it is given."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.controller import Controller


class Postbox:
    """The mails that came, oldest first, each with its recipients."""

    def __init__(self) -> None:
        self.url = ""
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, server, session, envelope) -> str:
        self.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=default)))
        return "250 OK"

    def text(self) -> str:
        """Return the newest mail's text."""
        return self.mails[-1][1].get_body(("plain",)).get_content()

    def link(self) -> str:
        """Return the link of the newest mail that has a guest's."""
        texts = [message.get_body(("plain",)).get_content() for _, message in self.mails]
        return re.findall(r"https?://\S+/dam/guest/\S+", "\n".join(texts))[-1]

    def token(self) -> str:
        """Return the secret of that link."""
        return self.link().rsplit("/", 1)[1]

    def code(self) -> str:
        """Return the one-time password of the newest mail."""
        return re.search(r"^ {4}(\d{4} \d{4})\s*$", self.text(), re.MULTILINE)[1]


@contextmanager
def postbox() -> Iterator[Postbox]:
    """Run one on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    box = Postbox()
    box.url = f"smtp://127.0.0.1:{port}"
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
