"""Proxies: what plays in a browser in place of the original, encoded while the original is decoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dam.ingest.media.chain import Chain

#: What, beside the original, decides a proxy's bytes; raise ``version`` when they come out another way.
RECIPE = {"proof": "proxy", "version": 1, "side": 640, "rate": 30, "crf": 28, "sound": 96_000}
VIDEO_TYPE, AUDIO_TYPE = "video/mp4", "audio/mp4"
_TICKS = 90_000
_SOUND_RATE, _SOUND_BITS = 48_000, 96_000
#: One thread, so that the bytes don't depend on the machine; a key frame every two seconds, to seek by.
_X264 = {
    "preset": "veryfast", "crf": "28", "threads": "1", "maxrate": "1200k", "bufsize": "2400k", "profile": "high",
    "flags": "+bitexact+cgop",
}  # fmt: skip

_AAC = {"aac_coder": "fast"}  # half the time, for what the ear hardly notices in a proxy


class Proxy:
    """A small MP4 (H.264 and AAC) that begins to play before it is loaded.

    :param path: the file to write. :param size: width and height of the picture; None for sound alone.
    :param rate: its frames a second, about. :param channels: of the sound; 0 for none.
    """

    def __init__(self, path: Path, *, size: tuple[int, int] | None, rate: Fraction, channels: int) -> None:
        self.path = path
        self._file = av.open(
            str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
        )  # fmt: skip
        self._picture: VideoStream | None = None
        self._sound: AudioStream | None = None
        if size:
            self._picture = self._file.add_stream("libx264", options=_X264 | {"g": str(max(1, round(2 * rate)))})
            self._picture.width, self._picture.height = size
            self._picture.pix_fmt = "yuv420p"
            context = self._picture.codec_context
            context.time_base, context.framerate = Fraction(1, _TICKS), rate
            context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
        if channels:
            layout = "mono" if channels == 1 else "stereo"
            self._sound = self._file.add_stream("aac", rate=_SOUND_RATE, layout=layout, options=_AAC)
            self._sound.bit_rate = _SOUND_BITS * min(channels, 2) // 2
            self._sound.codec_context.flags |= int(av.codec.context.Flags.bitexact)
            # gaps are filled, so that sound and picture stay together
            self._even = Chain(
                [("aresample", f"{_SOUND_RATE}:async=1000"), ("aformat", f"sample_fmts=fltp:channel_layouts={layout}")]
            )
        self._last = -1
        self._played = -1
        self._origin = 0.0

    def picture(self, frame: VideoFrame, seconds: float) -> None:
        """Add a frame of the right size. :param seconds: when it is shown; one that is late is left out."""
        assert self._picture is not None
        ticks = round(seconds * _TICKS)
        if ticks <= self._last:
            return
        self._last = frame.pts = ticks
        frame.time_base = Fraction(1, _TICKS)
        frame.pict_type = 0  # the encoder chooses its own key frames
        self._file.mux(self._picture.encode(frame))

    def sound(self, frame: AudioFrame, seconds: float) -> None:
        """Add a frame of sound that begins at a moment."""
        if self._sound is None or seconds < 0:
            return
        for even in self._even.push(frame):
            self._encode(even, seconds)

    def _encode(self, frame: AudioFrame, seconds: float) -> None:
        assert self._sound is not None
        if self._played < 0:
            self._played = round(seconds * _SOUND_RATE)
        frame.pts, frame.time_base = self._played, Fraction(1, _SOUND_RATE)
        self._played += frame.samples
        self._file.mux(self._sound.encode(frame))

    def close(self) -> None:
        """Write what is left, and move the index to the front."""
        if self._sound is not None:
            for even in self._even.end():
                self._encode(even, 0.0)
            self._file.mux(self._sound.encode(None))
        if self._picture is not None:
            self._file.mux(self._picture.encode(None))
        self._file.close()
