"""The tracks of a container while they are decoded, and the verdict on what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dam.ingest.damage import AGAIN
from dam.ingest.inspection import Unusable
from dam.ingest.media import clock

#: A file of which more than this share of frames is damaged can't be used; less is noted.
MOST_DAMAGED = 0.01
#: Containers that tell in advance how long they play. Of others the length is known only when they were read.
_TELLS_LENGTH = {"mov", "matroska", "flac", "wav", "w64", "aiff", "asf", "avi", "mp3", "caf", "mxf", "ogg"}
#: Those that tell it to a packet or two.
_EXACT = {"flac", "wav", "w64", "aiff", "mp3", "caf"}
#: Containers without an end of their own: a recording of a broadcast stops anywhere.
_ENDLESS = {"mpegts", "mpeg", "aac", "ac3", "amr"}
#: Codecs with packets that aren't shown.
_HIDDEN_PACKETS = {"vp8"}
_CUT_OFF = re.compile(r"partial file|ended prematurely")


def family(container: InputContainer) -> str:
    """Return the short name of a container's family: ``mov`` for all of ISO base media, ``matroska`` …"""
    return str(container.format.name).split(",")[0]


@dataclass
class Track:
    """One stream of sound or pictures: what was promised of it, and what came of it.

    :param claimed: seconds that the container says it plays; None when it doesn't say.
    :param packets: that should have become a frame. :param expected: that the container's index lists, or None.
    :param frames: decoded. :param damaged: decoded with faults, or not at all.
    :param checked: its container drops what doesn't fit its checksum, so that a gap is a loss.
    :param end: seconds from the start of the file to the end of the last frame.
    """

    stream: VideoStream | AudioStream
    claimed: float | None
    expected: int | None
    origin: float
    checked: bool = False
    packets: int = 0
    read: int = 0
    frames: int = 0
    failed: int = 0
    flawed: int = 0
    samples: int = 0
    end: float = 0.0
    start: float | None = None
    short: bool = False
    rotation: int = 0
    interlaced: bool = False
    gaps: tuple[float, float] | None = None
    _last: float | None = field(default=None, repr=False)

    @classmethod
    def of(cls, stream: VideoStream | AudioStream, container: InputContainer, origin: float) -> Track:
        """Return a track of which nothing is decoded yet."""
        kind = family(container)
        known = stream.duration and stream.time_base and kind in _TELLS_LENGTH
        expected: int | None = None
        if stream.frames and kind == "mov":
            expected = len(stream.index_entries)
        elif stream.frames and kind == "avi" and isinstance(stream, VideoStream):
            expected = stream.frames
        claimed = float(stream.duration * stream.time_base) if known else None  # type: ignore[operator]
        return cls(stream, claimed, expected, origin, checked=kind == "ogg")

    @property
    def kind(self) -> str:
        """``picture`` or ``sound``."""
        return "picture" if isinstance(self.stream, VideoStream) else "sound"

    @property
    def damaged(self) -> int:
        """Frames with faults, and frames that are missing."""
        return self.flawed + max(self.failed, self._lost)

    @property
    def total(self) -> int:
        """Frames that there should have been."""
        return max(self.frames + max(self.failed, self._lost), self.packets)

    @property
    def _lost(self) -> int:
        """Frames of which there is no trace."""
        if isinstance(self.stream, VideoStream):
            shown = not self.interlaced and self.stream.codec_context.name not in _HIDDEN_PACKETS
            return max(0, self.packets - self.frames - 1) if shown else 0
        if not self.checked or not self.samples or self.start is None:
            return 0
        silent = self.end - self.start - self.samples / self.stream.codec_context.sample_rate
        return max(0, round(silent * self.stream.codec_context.sample_rate * self.frames / self.samples))

    def decode(self, packet: Packet[Any]) -> Iterable[tuple[Any, float]]:
        """Yield a packet's frames with the second at which each begins; what can't be decoded is counted."""
        if packet.size:
            self.read += 1
            self.packets += not packet.is_discard
            self.short = packet.is_corrupt
        try:
            frames = packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            self.failed += bool(packet.size)
            return
        for frame in frames:
            assert isinstance(frame, VideoFrame | AudioFrame)
            yield frame, self._note(frame)

    def _note(self, frame: VideoFrame | AudioFrame) -> float:
        self.frames += 1
        self.flawed += frame.is_corrupt
        time = frame.time
        seconds = self.end if time is None else time - self.origin
        if isinstance(frame, AudioFrame):
            self.samples += frame.samples
            length = frame.samples / (frame.sample_rate or 1)
        else:
            length = float(frame.duration * frame.time_base) if frame.time_base else 0.0
            self._note_picture(frame, seconds)
        self.start = seconds if self.start is None else self.start
        self.end = max(self.end, seconds + length)
        return seconds

    def _note_picture(self, frame: VideoFrame, seconds: float) -> None:
        if self.frames == 1:
            self.rotation = -frame.rotation % 360
        self.interlaced = self.interlaced or frame.interlaced_frame
        if self._last is not None and seconds > self._last:
            gap = seconds - self._last
            least, most = self.gaps or (gap, gap)
            self.gaps = min(least, gap), max(most, gap)
        self._last = seconds

    def lacks(self, slack: float) -> bool:
        """Tell whether there is less of the track than its container says.

        :param slack: seconds by which a length may be off.
        """
        if self.expected is not None:
            return self.read < self.expected - 1 - self.expected // 100
        if self.claimed is None or self.start is None:
            return False
        return self.end - max(0.0, self.start) < self.claimed - slack

    @property
    def variable(self) -> bool:
        """Whether the distance between frames varies by more than what rounding to milliseconds explains."""
        if self.gaps is None:
            return False
        least, most = self.gaps
        return most - least > max(0.0025, 0.02 * most)


def judge(container: InputContainer, tracks: list[Track], complaints: list[str]) -> list[str]:
    """Tell whether what was decoded can be used.

    :param complaints: what the libraries logged meanwhile.
    :returns: remarks on what is not perfect.
    :raises Unusable: it is cut off, or too much of it is damaged.
    """
    if not any(track.frames for track in tracks):
        raise Unusable("Nothing of it can be decoded: it is cut off or damaged before its first frame.", remedy=AGAIN)
    _whole(container, tracks, complaints)
    for track in tracks:
        if not track.frames and (track.read or track.claimed):  # else a track that was never filled
            raise Unusable(f"Nothing of its {track.kind} can be decoded.", remedy=AGAIN)
    return [*_damage(tracks), *_remarks(tracks, complaints)]


def _whole(container: InputContainer, tracks: list[Track], complaints: list[str]) -> None:
    """Refuse a file that ends before it should."""
    kind = family(container)
    reached = max(track.end for track in tracks)
    told = [track.claimed for track in tracks if track.claimed]
    if container.duration and kind in _TELLS_LENGTH:
        told.append(container.duration / 1e6)
    claimed = max(told, default=0.0)
    short = kind not in _ENDLESS and any(track.short for track in tracks)
    slack = (0.06 if kind in _EXACT else 0.25) + claimed / 1000  # coders begin before and end after the sound
    lacks = any(track.lacks(slack) for track in tracks)
    if short or lacks or any(_CUT_OFF.search(line) for line in complaints):
        where = min(track.end for track in tracks)
        of = f"it plays for {clock(where)} of {clock(claimed)}"
        raise Unusable(
            f"The file is cut off: {of if where + 0.1 < claimed else f'it breaks off after {clock(where)}'}.",
            remedy=AGAIN,
        )
    if reached < claimed - slack - 0.75:  # tracks of text may go on after the last picture
        raise Unusable(
            f"The file says that it plays for {clock(claimed)}, but only {clock(reached)} of it are there.",
            remedy=AGAIN,
        )


def _damage(tracks: list[Track]) -> list[str]:
    remarks = []
    for track in tracks:
        if not track.damaged:
            continue
        thing = "frames" if track.kind == "picture" else "packets of sound"
        told = f"{track.damaged:,} of {track.total:,} {thing} are damaged or missing"
        if track.damaged > MOST_DAMAGED * track.total:
            raise Unusable(f"The file is damaged: {told}.", remedy=AGAIN)
        remarks.append(f"{told}; players hide it.")
    return remarks


def _remarks(tracks: list[Track], complaints: list[str]) -> list[str]:
    """Say what a decoder complained about that showed in no frame."""
    if any(track.damaged for track in tracks) or not complaints:
        return []
    return [f"It plays to its end, but the decoder complained {len(complaints)} times, first: {complaints[0][:120]}"]
