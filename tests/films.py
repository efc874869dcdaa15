"""Makes films and sounds: real files, written by the same libraries that editors use."""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

RATE = 44_100


def music(seconds: float, *, seed: int = 1, loud: float = 0.4) -> NDArray[np.int16]:
    """Return a melody that every seed makes another: two channels, six notes a second, with overtones."""
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    sound = np.zeros((2, count))
    length = RATE // 6
    for start in range(0, count, length):
        end = min(count, start + length)
        time = np.arange(end - start) / RATE
        for side in range(2):
            pitch = 110 * 2 ** (random.integers(0, 36) / 12)
            for part in (1, 2, 3):
                sound[side, start:end] += np.sin(2 * np.pi * pitch * part * time) * np.exp(-4 * time) / part
    return (sound / np.abs(sound).max() * loud * 32767).astype(np.int16)


def silence(seconds: float) -> NDArray[np.int16]:
    """Return nothing to hear."""
    return np.zeros((2, int(seconds * RATE)), np.int16)


def scenes(seconds: float, *, seed: int = 1, size: tuple[int, int] = (320, 180), rate: float = 25) -> Iterator[Any]:
    """Yield frames: a slow pan over a picture, another picture every second."""
    width, height = size
    large, drawn = Image.new("RGB", size), -1
    for number in range(round(seconds * rate)):
        scene, at = int(number / rate), number / rate % 1
        if scene != drawn:
            coarse = np.random.default_rng([seed, scene]).integers(0, 255, (9, 16, 3), dtype=np.uint8)
            large = Image.fromarray(coarse).resize((width * 5 // 4, height * 5 // 4), Image.Resampling.BICUBIC)
            drawn = scene
        left, top = int(at * width / 4), int(at * height / 4)
        yield np.asarray(large.crop((left, top, left + width, top + height)))


def write(
    path: Path, *, seconds: float = 2.0, seed: int = 1, video: str | None = "libx264", audio: str | None = "aac",
    size: tuple[int, int] = (320, 180), rate: Fraction | int = 25, frames: Any = None, sound: Any = None,
    options: dict[str, str] | None = None, container: dict[str, str] | None = None, pixels: str = "yuv420p",
    times: list[float] | None = None, metadata: dict[str, str] | None = None, bit_rate: int | None = None,
    context: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a film, or with ``video=None`` a sound; picture and sound by turns, as cameras do.

    :param frames: pictures in place of :func:`scenes`. :param sound: samples in place of :func:`music`.
    :param times: seconds at which the pictures are shown, where they aren't even.
    :param context: attributes of the video encoder.
    """
    with av.open(str(path), "w", options=container or {}) as out:
        out.metadata.update(metadata or {})
        picture = heard = None
        if video:
            picture = out.add_stream(video, rate=rate, options=options or {})
            picture.width, picture.height, picture.pix_fmt = *size, pixels
            picture.codec_context.time_base = 1 / Fraction(rate) if times is None else Fraction(1, 1000)
            for name, value in (context or {}).items():
                setattr(picture.codec_context, name, value)
        if audio:
            heard = out.add_stream(audio, rate=48_000 if audio == "libopus" else RATE)
            heard.codec_context.layout = "stereo"
            if bit_rate:
                heard.bit_rate = bit_rate
        _encode(out, picture, heard, _pictures(picture, frames, seconds, seed, size, rate, times),
                _sounds(music(seconds, seed=seed) if sound is None else sound))  # fmt: skip
    return path


def _pictures(picture: Any, frames: Any, seconds: float, seed: int, size: Any, rate: Any, times: Any) -> Iterator[Any]:
    if picture is None:
        return
    shown = frames if frames is not None else scenes(seconds, seed=seed, size=size, rate=float(rate))
    for number, pixels in enumerate(shown):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.time_base = picture.codec_context.time_base
        frame.pts = number if times is None else round(times[number] * 1000)
        yield frame


def _sounds(samples: NDArray[np.int16]) -> Iterator[AudioFrame]:
    for start in range(0, samples.shape[1], 1152):
        part = np.ascontiguousarray(samples[:, start : start + 1152])
        frame = AudioFrame.from_ndarray(part, format="s16p", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        yield frame


def _encode(out: Any, picture: Any, heard: Any, pictures: Iterator[Any], sounds: Iterator[Any]) -> None:
    fit = av.AudioResampler(heard.format, "stereo", heard.rate) if heard else None
    due_sound = next(sounds, None) if heard else None
    for frame in pictures:
        while due_sound is not None and due_sound.time <= frame.time:
            out.mux([packet for fitted in fit.resample(due_sound) for packet in heard.encode(fitted)])
            due_sound = next(sounds, None)
        out.mux(picture.encode(frame))
    while due_sound is not None:
        out.mux([packet for fitted in fit.resample(due_sound) for packet in heard.encode(fitted)])
        due_sound = next(sounds, None)
    if heard:
        out.mux([packet for fitted in fit.resample(None) for packet in heard.encode(fitted)])
        out.mux(heard.encode(None))
    if picture:
        out.mux(picture.encode(None))


def write_wav(path: Path, samples: NDArray[np.int16], *chunks: tuple[bytes, bytes]) -> Path:
    """Write a WAV file with further chunks behind its sound."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(samples))
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.ascontiguousarray(samples.T).tobytes())
    with path.open("r+b") as stream:
        stream.seek(0, 2)
        for name, data in chunks:
            stream.write(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))
        size = stream.tell() - 8
        stream.seek(4)
        stream.write(struct.pack("<I", size))
    return path


def turned(path: Path) -> Path:
    """Say in an MP4 or MOV that its picture must be turned by 90° clockwise, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def reencoded(source: Path, target: Path, *, start: float = 0.0, scale: float = 1.0, bit_rate: int = 64_000) -> Path:
    """Write a film again by other encoders: smaller, from a moment on, its sound at a low bit rate."""
    with av.open(str(source)) as opened:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in opened.decode(video=0)]
    fit = av.AudioResampler("s16p", "stereo", RATE)
    with av.open(str(source)) as opened:
        parts = [part.to_ndarray() for frame in opened.decode(audio=0) for part in fit.resample(frame)]
    kept = [pixels for time, pixels in frames if time >= start]
    height, width = (round(side * scale / 2) * 2 for side in kept[0].shape[:2])
    small = [np.asarray(Image.fromarray(pixels).resize((width, height))) for pixels in kept]
    samples = np.concatenate(parts, axis=1)[:, int(start * RATE) :]
    return write(
        target, video="libvpx-vp9", audio="libopus", size=(width, height), frames=small, sound=samples,
        options={"deadline": "realtime", "cpu-used": "8", "crf": "40"}, bit_rate=bit_rate,
    )  # fmt: skip
