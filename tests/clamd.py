"""A small clamd: speaks the daemon's protocol over a socket and finds EICAR's test string."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import samples

VERSION = "ClamAV 1.4.2/27700/Mon Jul  7 10:34:00 2025"


class _Session(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        command = self._until_zero()
        self.server.seen.append(command)
        if command == b"zPING":
            self.request.sendall(b"PONG\0")
        elif command == b"zVERSION":
            self.request.sendall(VERSION.encode() + b"\0")
        elif command == b"zINSTREAM":
            self._instream()
        else:
            self.request.sendall(b"UNKNOWN COMMAND\0")

    def _instream(self) -> None:
        data = bytearray()
        while length := struct.unpack(">I", self._exactly(4))[0]:
            data += self._exactly(length)
            if len(data) > self.server.most:
                self.request.sendall(b"INSTREAM size limit exceeded. ERROR\0")
                return
        self.server.scanned.append(bytes(data))
        answer = self.server.says or ("Eicar-Test-Signature FOUND" if samples.EICAR in data else "OK")
        self.request.sendall(f"stream: {answer}\0".encode())

    def _until_zero(self) -> bytes:
        read = bytearray()
        while (byte := self.request.recv(1)) not in (b"", b"\0"):
            read += byte
        return bytes(read)

    def _exactly(self, length: int) -> bytes:
        read = bytearray()
        while len(read) < length:
            part = self.request.recv(length - len(read))
            if not part:
                raise ConnectionError
            read += part
        return bytes(read)


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def clamd(path: Path | None = None, *, port: int = 0, most: int = 25_000_000, says: str = "") -> Iterator:
    """Run one on a socket file, or on TCP; ``address`` is where, ``scanned`` what it was sent.

    :param most: its StreamMaxLength. :param says: answer this to every file.
    """
    server = _Unix(str(path), _Session) if path else _Tcp(("127.0.0.1", port), _Session)
    server.handle_error = lambda *_: None  # who hangs up is tested from the other side
    server.most, server.says, server.scanned, server.seen = most, says, [], []
    server.address = f"unix:{path}" if path else f"tcp:127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
