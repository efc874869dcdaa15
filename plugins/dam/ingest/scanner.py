"""Malware: ClamAV, over the socket of its daemon (clamd's protocol, as its manual page tells it).

A scan has three ends: clean, infected, and not scanned with the reason. What was not scanned is never taken
for clean: ``unscanned`` in ``include/taxonomy/limits.yaml`` says whether it passes or waits.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dam.errors import BadInput
from dam.settings import Settings

State = Literal["clean", "infected", "not_scanned", "awaited"]
CLEAN: State = "clean"
INFECTED: State = "infected"
NOT_SCANNED: State = "not_scanned"
#: Not scanned, and set aside until it is.
AWAITED: State = "awaited"

_CHUNK = 1 << 20
_CONNECT_SECONDS = 5.0
#: The scanner may think so long about a file, and a second longer for so many bytes of it.
_PATIENCE, _BYTES_A_SECOND = 120.0, 2_000_000
_VERSION_SECONDS = 600.0
#: Names by which clamd says that it gave up, where an administrator has it say so.
_GAVE_UP = re.compile(r"^Heuristics\.(Limits\.Exceeded|Encrypted)")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan told.

    :param note: the scanner's version when clean, the signature's name when infected, why when not scanned.
    """

    state: State
    note: str = ""


@dataclass
class Scanner:
    """A clamd.

    :param address: ``unix:/path`` or ``tcp:host:port``; empty for none.
    """

    address: str = ""
    _version: str = field(default="", repr=False)
    _asked: float = field(default=0.0, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Scanner:
        """Return the scanner of ``DAM_CLAMD``. :raises BadInput: its address makes no sense."""
        if settings.clamd:
            _place(settings.clamd)
        return cls(settings.clamd)

    def scan(self, path: Path, *, most_bytes: int) -> Scan:
        """Scan a file's bytes; whatever happens to the scanner, there is an answer.

        :param most_bytes: larger files are not sent.
        """
        if not self.address:
            return Scan(NOT_SCANNED, "no scanner is configured")
        size = path.stat().st_size
        if size > most_bytes:
            return Scan(NOT_SCANNED, f"larger than the {most_bytes / 1e6:,.0f} MB that are sent to the scanner")
        try:
            with self._connected(_PATIENCE + size / _BYTES_A_SECOND) as connection:
                answer = _instream(connection, path)
            return self._judge(answer)
        except OSError as error:
            return Scan(NOT_SCANNED, f"the scanner does not answer ({error.strerror or type(error).__name__})")

    def ping(self) -> bool:
        """Return whether the scanner answers."""
        try:
            return self._ask(b"zPING\0") == "PONG"
        except OSError:
            return False

    def version(self) -> str:
        """Return the version of the scanner and of its signatures, asked again after some minutes.

        :raises OSError: it does not answer.
        """
        if not self._version or time.monotonic() - self._asked > _VERSION_SECONDS:
            self._version, self._asked = self._ask(b"zVERSION\0"), time.monotonic()
        return self._version

    def _ask(self, command: bytes) -> str:
        with self._connected(_CONNECT_SECONDS) as connection:
            connection.sendall(command)
            return _answer(connection)

    @contextlib.contextmanager
    def _connected(self, seconds: float) -> Iterator[socket.socket]:
        place = _place(self.address)
        family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
        if family == socket.AF_UNIX:
            connection = socket.socket(family, socket.SOCK_STREAM)
        else:
            connection = socket.create_connection(place, timeout=_CONNECT_SECONDS)  # type: ignore[arg-type]
        with connection:
            connection.settimeout(_CONNECT_SECONDS)
            if family == socket.AF_UNIX:
                connection.connect(place)
            connection.settimeout(seconds)
            yield connection

    def _judge(self, answer: str) -> Scan:
        text = answer.removeprefix("stream:").strip()
        if text == "OK":
            with contextlib.suppress(OSError):
                return Scan(CLEAN, self.version())
            return Scan(CLEAN)
        if text.endswith(" FOUND"):
            name = text.removesuffix(" FOUND")
            if _GAVE_UP.match(name):
                return Scan(NOT_SCANNED, f"the scanner could not look through all of it ({name})")
            return Scan(INFECTED, name)
        if "size limit exceeded" in text:
            return Scan(NOT_SCANNED, "too large for the scanner (its StreamMaxLength)")
        return Scan(NOT_SCANNED, f"the scanner gave no verdict ({text[:200] or 'an empty answer'})")


def _place(address: str) -> str | tuple[str, int]:
    """Return where an address leads: a path, or host and port."""
    kind, _, rest = address.partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "unix" and rest.startswith("/"):
        return rest
    if kind == "tcp" and host and port.isdecimal() and int(port) < 65536:
        return host.strip("[]"), int(port)
    raise BadInput(
        f"{address!r} is no address of a scanner",
        where="environment variable DAM_CLAMD",
        remedy="Write unix:/run/clamav/clamd.ctl or tcp:host:3310.",
    )


def _instream(connection: socket.socket, path: Path) -> str:
    """Send a file in chunks, each with its length before it, and return the answer."""
    try:
        connection.sendall(b"zINSTREAM\0")
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                connection.sendall(struct.pack(">I", len(chunk)) + chunk)
        connection.sendall(struct.pack(">I", 0))
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has heard enough: the answer says of what, unless the connection took it along
    try:
        return _answer(connection)
    except ConnectionResetError:
        return "it hung up before the end of the file"


def _answer(connection: socket.socket) -> str:
    parts = bytearray()
    while b"\0" not in parts and len(parts) < 1 << 16 and (part := connection.recv(4096)):
        parts += part
    return bytes(parts).split(b"\0")[0].decode("utf-8", "replace").strip()
