"""Chains of filters that decoded frames go through."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

Frame = AudioFrame | VideoFrame
#: A filter's name and its arguments, as the filter library writes them.
Filter = tuple[str, str]


class Chain:
    """Filters in a row, set up by the first frame and anew when the frames change shape."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = filters
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[Any, ...] = ()

    def push(self, frame: Frame) -> list[Any]:
        """Put a frame in and return what comes out."""
        shape = _shape(frame)
        rest: list[Any] = []
        if shape != self._shape:
            rest = self.end()
            self._graph, self._shape = self._built(frame), shape
        assert self._graph is not None
        self._graph.push(frame)
        return rest + _pulled(self._graph)

    def end(self) -> list[Any]:
        """Return what is still inside; afterwards the chain may be used anew."""
        if self._graph is None:
            return []
        graph, self._graph, self._shape = self._graph, None, ()
        graph.push(None)
        return _pulled(graph)

    def _built(self, frame: Frame) -> av.filter.Graph:
        graph = av.filter.Graph()
        graph.threads = 1  # workers are processes, one a core
        base = frame.time_base or Fraction(1, 1000)
        if isinstance(frame, VideoFrame):
            nodes = [
                graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
            ]  # fmt: skip
            last = "buffersink"
        else:
            nodes = [
                graph.add_abuffer(
                    sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=base
                )
            ]
            last = "abuffersink"
        nodes += [graph.add(name, arguments) for name, arguments in self._filters]
        graph.link_nodes(*nodes, graph.add(last)).configure()
        return graph


def _shape(frame: Frame) -> tuple[Any, ...]:
    if isinstance(frame, VideoFrame):
        return frame.width, frame.height, frame.format.name
    return frame.sample_rate, frame.format.name, frame.layout.name


def _pulled(graph: av.filter.Graph) -> list[Any]:
    found: list[Any] = []
    while True:
        try:
            found.append(graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return found
