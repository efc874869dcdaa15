"""A process of its own for decoders, so that one file can't take the worker down.

It is started once a worker, not once a file, and asked file by file over a socket. It has a limit of memory;
each file has a limit of time. A decoder that crashes, hangs or eats memory ends this process alone: the file
goes into quarantine with a sentence, and the next file gets a fresh process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LENGTH = 8
#: Memory that a decoder gives back stays with the process, for the next file takes as much: blocks of less than the
#: first number of bytes, and of these no more than the second. What is larger goes back to the machine (mallopt(3)).
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a look may go.

    :param memory_bytes: most address space of the decoding process, beyond what it has when idle.
    :param seconds: most seconds for a file that doesn't ask for more.
    :param longest: most seconds for one that does, as an hour of video must: its bytes don't tell how long it takes.
    """

    memory_bytes: int
    seconds: float
    longest: float = 0.0


class Sandbox:
    """A decoding process, started when it is first needed and again after each loss. One caller at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._memory = 0

    def look(self, path: Path, *, name: str, limits: dict[str, Any], recipes: Path, scratch: Path,
             bounds: Bounds) -> dict[str, Any]:  # fmt: skip
        """Look into a file; see :func:`dam.ingest.look.look` for the answer.

        Whatever the decoder does, an answer comes within ``bounds.seconds``, or what it asked for before.
        """
        return self._ask(
            {"path": str(path), "name": name, "scratch": str(scratch), "limits": limits, "recipes": str(recipes)},
            bounds,
        )

    def sidecar(self, path: Path, *, bounds: Bounds) -> dict[str, Any]:
        """Return the XMP that a sidecar holds, by exiv2 key; empty when it can't be read."""
        found: dict[str, Any] = self._ask({"sidecar": str(path)}, bounds).get("embedded", {})
        return found

    def tiles(self, path: Path, *, target: Path, most_megapixels: float, bounds: Bounds) -> dict[str, Any]:
        """Cut a picture into tiles; see :func:`dam.renditions.tiles.cut` for the answer."""
        return self._ask({"tiles": str(path), "target": str(target), "most_megapixels": most_megapixels}, bounds)

    def _ask(self, asked: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
        with self._lock:
            self._start(bounds)
            assert self._socket is not None
            allowed, began = bounds.seconds, time.monotonic()
            try:
                self._socket.settimeout(allowed)
                _send(self._socket, asked)
                while (answer := _receive(self._socket)) is not None and "more_time" in answer:
                    allowed = max(allowed, min(answer["more_time"], bounds.longest))
                    self._socket.settimeout(max(0.001, began + allowed - time.monotonic()))
            except TimeoutError:
                self.stop()
                return _lost(f"Opening it took longer than {allowed:,g} seconds.")
            except OSError:
                answer = None
            if answer is None:
                return _lost(self._obituary())
            return answer

    def _start(self, bounds: Bounds) -> None:
        if self._process is not None and self._process.poll() is None and self._memory == bounds.memory_bytes:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            plugins = str(Path(__file__).resolve().parents[2])
            path = os.pathsep.join(filter(None, [plugins, os.environ.get("PYTHONPATH", "")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dam.ingest.sandbox", str(theirs.fileno()), str(bounds.memory_bytes)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=_KEPT_MEMORY | os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
        self._socket, self._memory = ours, bounds.memory_bytes

    def _obituary(self) -> str:
        """Say how the process ended."""
        process = self._process
        code = None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(5)
        self.stop()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            if name == "SIGKILL":
                return "Opening it needs more memory than this machine has."
            return f"The decoder crashed on it ({name}): it is damaged, or made to harm."
        return "The decoder gave up on it: it is damaged, or made to harm."

    def interrupt(self) -> None:
        """End what it looks into now, from another thread: who waits for that is told that it gave up."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End the process, at once."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


def _lost(why: str) -> dict[str, Any]:
    return {"unusable": why, "media_type": "application/octet-stream", "kind": "opaque", "extensions": []}


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder for one file's proofs."""
    with tempfile.TemporaryDirectory(prefix="dam-look-") as folder:
        yield Path(folder)


_shared: Sandbox | None = None


def shared() -> Sandbox:
    """Return this process's sandbox; after a fork, the child gets one of its own."""
    global _shared
    if _shared is None:
        _shared = Sandbox()
        atexit.register(_stop_shared)
    return _shared


def _stop_shared() -> None:
    if _shared is not None:
        _shared.stop()


def _forget() -> None:
    """After a fork the process belongs to the parent: close our copy of its socket, start our own."""
    global _shared
    if _shared is not None and _shared._socket is not None:
        _shared._socket.close()
    _shared = None


os.register_at_fork(after_in_child=_forget)


# ------------------------------------------------------------------------------------------------- wire


def _send(to: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    to.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def _receive(source: socket.socket) -> dict[str, Any] | None:
    """Return the next message; None at the end."""
    head = _exactly(source, _LENGTH)
    if head is None:
        return None
    data = _exactly(source, int.from_bytes(head, "big"))
    return None if data is None else dict(json.loads(data))


def _exactly(source: socket.socket, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = source.recv(min(1 << 20, length - len(parts)))
        if not part:
            return None
        parts += part
    return bytes(parts)


# -------------------------------------------------------------------------------------- the other side


def _serve(channel: socket.socket, memory_bytes: int) -> None:
    """Answer until the other side hangs up."""
    from dam.ingest import embedded
    from dam.ingest.inspection import Job
    from dam.ingest.look import look

    idle = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # libraries that are loaded later, and their threads' stacks, take address space of their own
    resource.setrlimit(resource.RLIMIT_AS, (idle + memory_bytes + (2 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (asked := _receive(channel)) is not None:
        if "sidecar" in asked:
            _send(channel, {"embedded": embedded.read_sidecar(Path(asked["sidecar"]))})
            continue
        if "tiles" in asked:
            from dam.renditions import tiles

            most = float(asked["most_megapixels"])
            _send(channel, tiles.cut(Path(asked["tiles"]), Path(asked["target"]), most_megapixels=most))
            continue
        job = Job(
            path=Path(asked["path"]), name=asked["name"], scratch=Path(asked["scratch"]), limits=asked["limits"],
            recipes=Path(asked["recipes"]), more_time=lambda seconds: _send(channel, {"more_time": seconds}),
        )  # fmt: skip
        _send(channel, look(job))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
