"""What a container and its tracks say of themselves: formats, rates, colours, chapters."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from av.video.stream import VideoStream

from dam.ingest.media import tones
from dam.ingest.media.tracks import Track, family

#: Names of the colour transfers of high dynamic range.
HDR = {tones.PQ: "PQ", tones.HLG: "HLG"}
#: Most chapters that are kept.
MOST_CHAPTERS = 500


def of(container: InputContainer, tracks: Sequence[Track], first: VideoFrame | None) -> dict[str, Any]:
    """Return what is known of a container and each of its streams.

    :param first: the first frame of its picture: it tells more of colours than the stream does.
    """
    by_index = {track.stream.index: track for track in tracks}
    told: dict[str, Any] = {
        "container": container.format.long_name,
        "container_family": family(container),
        "bit_rate": container.bit_rate or None,
        "streams": [_stream(stream, by_index.get(stream.index)) for stream in container.streams],
        "chapters": _chapters(container),
        "timecode": _timecode(container),
    }
    picture = next((track for track in tracks if isinstance(track.stream, VideoStream)), None)
    if picture is not None and first is not None:
        told |= _picture(picture, first)
    return {key: value for key, value in told.items() if value not in (None, [], "")}


def _stream(stream: Stream, track: Track | None) -> dict[str, Any]:
    told: dict[str, Any] = {"index": stream.index, "type": stream.type, "language": stream.language}
    context = getattr(stream, "codec_context", None)
    if context is not None:
        told |= {"codec": context.codec.canonical_name, "profile": stream.profile, "bit_rate": context.bit_rate}
    if isinstance(stream, VideoStream):
        told |= _video(stream)
    elif isinstance(stream, AudioStream):
        context = stream.codec_context
        told |= {
            "sample_rate": context.sample_rate, "channels": context.layout.nb_channels, "layout": context.layout.name,
            "sample_format": context.format.name,
        }  # fmt: skip
    if track is not None:
        told |= {"frames": track.frames, "damaged": track.damaged or None, "seconds": round(track.end, 3)}
    return {key: value for key, value in told.items() if value not in (None, "", 0)} | {"index": stream.index}


def _video(stream: VideoStream) -> dict[str, Any]:
    context = stream.codec_context
    told: dict[str, Any] = {
        "width": context.width, "height": context.height, "pixel_format": context.pix_fmt,
        "level": _level(context.codec.canonical_name, context.level),
        "frame_rate": _fraction(stream.average_rate),
    }  # fmt: skip
    if context.format is not None:
        told["bits"] = max(component.bits for component in context.format.components)
    if (ratio := context.sample_aspect_ratio) and ratio != 1:
        told["pixel_aspect"] = _fraction(ratio)
    return told


def _level(codec: str, level: int) -> str | None:
    """Return a level as its standard writes it: 31 of H.264 is 3.1, 93 of HEVC too."""
    if level <= 0:
        return None
    if codec == "hevc":
        return f"{level / 30:.1f}"
    return f"{level / 10:.1f}" if codec in ("h264", "vp9") else str(level)


def _picture(track: Track, first: VideoFrame) -> dict[str, Any]:
    """Return what matters most of the picture, beside its stream."""
    rate = track.stream.average_rate if isinstance(track.stream, VideoStream) else None
    told: dict[str, Any] = {
        "frame_rate": _fraction(rate),
        "frame_rate_mode": "variable" if track.variable else "constant",
        "rotation": track.rotation or None,
        "interlaced": track.interlaced,
        "colour_transfer": _name(ColorTrc, first.color_trc),
        "colour_primaries": _name(ColorPrimaries, first.color_primaries),
        "hdr": HDR.get(first.color_trc),
    }
    kinds = _side_data(first)
    if "CONTENT_LIGHT_LEVEL" in kinds:
        told["max_cll"], told["max_fall"] = struct.unpack_from("=II", bytes(kinds["CONTENT_LIGHT_LEVEL"]))
    if "DOVI_METADATA" in kinds or "DOVI_RPU_BUFFER" in kinds:
        told["hdr"] = "Dolby Vision"
    elif "DYNAMIC_HDR_PLUS" in kinds:
        told["hdr"] = "HDR10+"
    return told


def _side_data(frame: VideoFrame) -> dict[str, SideData]:
    """Return what comes with a frame beside its pixels, by name; nothing when a kind of it is unknown here."""
    try:
        return {data.type.name: data for data in frame.side_data}  # type: ignore[attr-defined,misc]
    except ValueError:
        return {}


def _name(names: type[IntEnum], value: int) -> str | None:
    try:
        name = names(value).name
    except ValueError:
        return str(value)
    return None if name == "UNSPECIFIED" else name


def _fraction(value: Fraction | None) -> str | None:
    return str(value) if value else None


def _chapters(container: InputContainer) -> list[dict[str, Any]]:
    return [
        {
            "start": round(float(chapter["start"] * chapter["time_base"]), 3),
            "end": round(float(chapter["end"] * chapter["time_base"]), 3),
            "title": chapter["metadata"].get("title", "")[:200],
        }
        for chapter in container.chapters()[:MOST_CHAPTERS]
        if chapter["time_base"]
    ]


def _timecode(container: InputContainer) -> str | None:
    places = (container.metadata, *(stream.metadata for stream in container.streams))
    return next((place["timecode"] for place in places if "timecode" in place), None)
