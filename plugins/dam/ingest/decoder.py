"""Decodes pictures in a process of its own, so that a file that crashes or hangs a decoder stops nothing else.

The decoders are C and C++ libraries, and files come from strangers. The child has a limit of memory, and a
picture a limit of time; where one is passed, or the child dies, it is that file which is refused: the next
file gets a new child. A child serves many files, as starting one costs about a third of a second.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from dam.errors import BadInput
from dam.ingest.pixels import CantCheck, Picture

#: The folder that ``dam`` is imported from.
_ROOT = Path(__file__).resolve().parents[2]


class Decoder:
    """A child process for one thread; started with the first picture, ended by the ``with`` block.

    :param seconds: most time for one picture. :param megabytes: most memory of the child.
    """

    def __init__(self, *, seconds: float, megabytes: int) -> None:
        self.seconds, self.megabytes = seconds, megabytes
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def decode(self, path: Path, *, max_megapixels: float) -> tuple[Picture, dict[str, Any]]:
        """Decode a picture to its end; return what it is, and its embedded metadata as exiv2 names it.

        :raises BadInput: it can't be used; says why in plain words.
        :raises CantCheck: there is no decoder for it here.
        """
        answer = self._ask({"path": str(path), "max_megapixels": max_megapixels})
        if "picture" in answer:
            return Picture(**answer["picture"]), answer["embedded"]
        raise (CantCheck if answer["cant_check"] else BadInput)(answer["what"], remedy=answer["remedy"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        child = self._child or self._start()
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
            line = self._line(child.stdout)
        except (BrokenPipeError, EOFError):
            self._end()
            raise BadInput(
                "The file made the decoder crash: it is badly damaged, or was made to do harm.",
                remedy="Ask the sender for the file again, exported anew.",
            ) from None
        except TimeoutError:
            self._end()
            raise BadInput(
                f"The picture was not decoded within {self.seconds:g} seconds.",
                remedy="Ask the sender for the file again, exported anew.",
            ) from None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _line(self, stream: IO[bytes]) -> bytes:
        """Return the child's next line. :raises TimeoutError: none came. :raises EOFError: it died."""
        end = time.monotonic() + self.seconds
        received = bytearray()
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([stream], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            block = os.read(stream.fileno(), 1 << 16)
            if not block:
                raise EOFError
            received += block
        return bytes(received)

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "dam.ingest.decoder", str(self.megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(_ROOT)},
        )
        return self._child

    def _end(self) -> None:
        """End the child, which owes nothing to anybody."""
        if self._child is not None:
            self._child.kill()
            with suppress(BrokenPipeError):
                self._child.communicate()
            self._child = None


def _serve(megabytes: int) -> None:
    """Answer questions, a JSON line each, until there are no more; the child's side."""
    import resource

    from dam.ingest import embedded, pixels

    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # what a library prints must not end up between the answers
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        path = Path(question["path"])
        answer: dict[str, Any]
        try:
            picture = pixels.decode(path, max_megapixels=question["max_megapixels"])
            answer = {"picture": asdict(picture), "embedded": embedded.read(path)}
        except BadInput as error:
            cant_check = type(error) is pixels.CantCheck
            answer = {"what": error.what, "remedy": error.remedy, "cant_check": cant_check}
        except MemoryError:
            answer = {
                "what": "The picture needs more memory than is allowed here.",
                "remedy": "Ask for a smaller file.",
                "cant_check": False,
            }
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
