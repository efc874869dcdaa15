"""Video and sound: whatever the bundled FFmpeg libraries demultiplex and decode, without a process of its own.

Every packet of every track is decoded once, and from this one pass come the proof that the file can be used, its
fingerprints, loudness and waveform, poster, storyboard and the proxy, which is encoded meanwhile. No more than a
few frames are in memory at a time, however long the file is.

Limits: what is neither compressed nor checksummed (WAV) hides a changed byte, and so do most codecs when the
change still decodes to something; FLAC and Ogg carry checksums that are held to. A recording of a broadcast
(MPEG transport stream) has no end that could be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import mutagen.flac
import pyvips
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dam.ingest import proofs
from dam.ingest.damage import AGAIN
from dam.ingest.formats import Format
from dam.ingest.inspection import CantCheck, Inspection, Job, Unusable
from dam.ingest.media import clock, ends, proxy, tags, technical, tones
from dam.ingest.media.moving import SIDE, Film, Gate, Shape
from dam.ingest.media.proxy import Proxy
from dam.ingest.media.sound import Digest, Sound
from dam.ingest.media.tracks import Track, family, judge
from dam.renditions import pictures

#: More tracks than any recording has.
MOST_TRACKS = 64
#: Lines of a decoder's complaints that are kept.
MOST_COMPLAINTS = 100
#: Frames of sound that may come before the first picture.
MOST_WAITING = 2000
#: Longest side of a poster, in pixels; width and height of a waveform; of the preview of what has no picture.
POSTER, WAVEFORM, SHEET = 1920, (1800, 280), (1600, 900)
#: Seconds that a file may take in any case, and megapixels a second that even a slow decoder manages.
_PATIENCE, _SLOWEST = 60.0, 20.0
#: A file is read alone: never followed to other files, nor to the network.
_OPTIONS = {"protocol_whitelist": "file", "enable_drefs": "0", "export_all": "1", "export_xmp": "1"}
_NOT_FILMS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_ENCRYPTED = ("encv", "enca", "drms", "drmi")


def inspect(job: Job, found: Format) -> Inspection:
    """Decode every track of a file, once.

    :raises Unusable: it is cut off, damaged, empty or too large; says so in plain words, with how far it plays.
    :raises CantCheck: there is no decoder for one of its tracks, or it is copy-protected.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture(local=False) as logged, _opened(job) as container:
            play = _Play(job, container, logged)
            play.run()
            notes = judge(container, play.tracks, [line.strip() for _, _, line in logged])
            play.check_content()
            told = play.tell(found)
    finally:
        av.logging.set_level(None)
    told.notes += notes
    return told


@contextmanager
def _opened(job: Job) -> Iterator[InputContainer]:
    try:
        container = av.open(str(job.path), "r", options=_OPTIONS, metadata_errors="replace")
    except av.error.MemoryError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise Unusable(_explained(error), remedy=AGAIN) from error
    with container:
        yield container


def _explained(error: Exception) -> str:
    """Say in plain words why a file can't even be opened, the library's own words in brackets."""
    last = getattr(error, "log", None)
    detail = str(last[2] if last else getattr(error, "strerror", "") or error).strip()
    if "moov atom not found" in detail:
        return "The file is cut off or was never finished: its index is missing, without which nothing plays. (moov)"
    return f"It begins like video or sound, but what follows is missing or damaged. ({detail[:120]})"


class _Play:
    """One pass over a file."""

    def __init__(self, job: Job, container: InputContainer, logged: list[Any]) -> None:
        self._job, self._container, self._logged = job, container, logged
        playable = self._playable()
        self._limits()
        self._check_end()
        origin = (container.start_time or 0) / 1e6
        self.tracks = [Track.of(stream, container, origin) for stream in playable]
        self._by_index = {track.stream.index: track for track in self.tracks}
        self._cover: bytes | None = None
        self._picture = _main([track for track in self.tracks if track.kind == "picture"])
        self._heard = _main([track for track in self.tracks if track.kind == "sound"])
        self._film: Film | None = None
        self._first: VideoFrame | None = None
        self._shape: Shape | None = None
        self._sound = Sound() if self._heard else None
        self._waiting: list[tuple[AudioFrame, float]] = []
        self._proxy: Proxy | None = None
        self._digest = _digest(job, container)
        self._most = float(job.limits["max_seconds"])

    # ------------------------------------------------------------------------------------- before

    def _limits(self) -> None:
        """Refuse what is too large by its own account, before anything is decoded."""
        container, limits = self._container, self._job.limits
        if len(container.streams) > MOST_TRACKS:
            raise Unusable(
                f"It has {len(container.streams):,} tracks.", remedy=f"At most {MOST_TRACKS} are looked into."
            )
        seconds = (container.duration or 0) / 1e6
        if seconds > limits["max_seconds"]:
            raise _too_long(seconds, limits["max_seconds"])
        pixels = 0.0
        for stream in container.streams.video:
            if stream.disposition & _NOT_FILMS:
                continue
            megapixels = stream.width * stream.height / 1e6
            if megapixels > limits["max_megapixels"]:
                raise Unusable(
                    f"The picture claims to be {stream.width} × {stream.height} pixels ({megapixels:,.0f} megapixels).",
                    remedy=f"At most {limits['max_megapixels']:g} megapixels are accepted; ask for a smaller file.",
                )
            pixels += megapixels * float(stream.average_rate or 25)
        self._job.more_time(_PATIENCE + seconds * (1 + pixels / _SLOWEST))

    def _check_end(self) -> None:
        with self._job.path.open("rb") as stream:
            missing = ends.missing(stream, family(self._container))
        if missing:
            plays = f"; it plays for {clock(self._container.duration / 1e6)}" if self._container.duration else ""
            raise Unusable(
                f"The file is cut off: at least {missing:,} bytes are missing at its end{plays}.", remedy=AGAIN
            )

    def _playable(self) -> list[VideoStream | AudioStream]:
        """Return the tracks to decode. :raises CantCheck: one of them can't be."""
        chosen: list[VideoStream | AudioStream] = []
        for stream in self._container.streams:
            if stream.type not in ("video", "audio") or stream.disposition & _NOT_FILMS:
                continue
            context = stream.codec_context
            if context is None or not isinstance(stream, VideoStream | AudioStream):
                raise CantCheck(f"There is no decoder for its track {stream.index + 1} here.")
            if context.codec_tag in _ENCRYPTED:
                raise CantCheck("It is copy-protected, so nobody can look inside without its key.")
            context.thread_count = 1  # workers are processes, one a core
            context.options = {"err_detect": "crccheck"}
            chosen.append(stream)
        if not chosen:
            raise Unusable("There is nothing to see or to hear in it: it is empty, or damaged.", remedy=AGAIN)
        return chosen

    # ------------------------------------------------------------------------------------ meanwhile

    def run(self) -> None:
        """Decode everything."""
        covers = [stream for stream in self._container.streams.video if stream.disposition & _NOT_FILMS]
        try:
            for packet in self._container.demux([track.stream for track in self.tracks] + covers):
                track = self._by_index.get(packet.stream_index)
                if track is None:
                    self._cover = self._cover or bytes(packet)
                    continue
                for frame, seconds in track.decode(packet):
                    self._take(track, frame, seconds)
                del self._logged[MOST_COMPLAINTS:]
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                self._logged.append((0, "", f"partial file: {error.strerror}"))
        if self._sound is not None:
            self._sound.end()
        if self._proxy is not None:
            self._proxy.close()

    def _take(self, track: Track, frame: VideoFrame | AudioFrame, seconds: float) -> None:
        if seconds > self._most:
            raise _too_long(seconds, self._most)
        if track is self._picture:
            assert isinstance(frame, VideoFrame)
            self._see(track, frame, seconds)
        elif track is self._heard:
            assert isinstance(frame, AudioFrame)
            self._hear(frame, seconds)

    def _see(self, track: Track, frame: VideoFrame, seconds: float) -> None:
        if self._film is None:
            self._begin(track, frame)
        assert self._film is not None
        assert self._proxy is not None
        if not self._gate.opens(seconds):
            return
        frame.pts, frame.time_base = round(seconds * 1e6), Fraction(1, 1_000_000)
        for small in self._upright.push(frame):
            self._film.take(frame, small, small.time)
            self._proxy.picture(small, small.time)

    def _begin(self, track: Track, frame: VideoFrame) -> None:
        """Set up what follows from the first frame: how the picture is shown, and what is made of it."""
        assert isinstance(track.stream, VideoStream)
        rate = track.stream.average_rate
        table = ""
        if frame.color_trc in technical.HDR:
            table = str(self._job.scratch / "tones.cube")
            tones.write(self._job.scratch / "tones.cube", frame.color_trc)
        self._first, self._shape = frame, Shape.of(track.stream, frame, table)
        self._film = Film(self._shape)
        self._gate = Gate(rate)
        self._upright = self._shape.chain(*self._shape.inside(SIDE), "yuv420p")
        self._start_proxy(self._shape.inside(SIDE), Fraction(min(rate or 25, 30)))
        for waiting in self._waiting:
            self._proxy_sound(*waiting)
        self._waiting.clear()

    def _hear(self, frame: AudioFrame, seconds: float) -> None:
        assert self._sound is not None
        self._sound.take(frame)
        if self._digest is not None:
            self._digest.take(frame)
        if self._proxy is None and self._picture is None:
            self._start_proxy(None, Fraction(1))
        if self._proxy is not None:
            self._proxy_sound(frame, seconds)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append((frame, seconds))

    def _start_proxy(self, size: tuple[int, int] | None, rate: Fraction) -> None:
        stream = self._heard.stream if self._heard else None
        channels = stream.codec_context.layout.nb_channels if isinstance(stream, AudioStream) else 0
        self._proxy = Proxy(self._job.scratch / "proxy.mp4", size=size, rate=rate, channels=channels)

    def _proxy_sound(self, frame: AudioFrame, seconds: float) -> None:
        assert self._proxy is not None
        self._proxy.sound(frame, seconds)

    # ---------------------------------------------------------------------------------------- after

    def check_content(self) -> None:
        """Hold the file to what it says of its own bytes. :raises Unusable: they are other ones."""
        if self._digest is not None and not self._digest.matches:
            raise Unusable("The file is damaged: the sound is not bit by bit what its encoder wrote.", remedy=AGAIN)

    def tell(self, found: Format) -> Inspection:
        """Return everything that was found, and make the proofs."""
        told = Inspection(seconds=round(max(track.end for track in self.tracks), 3))
        told.technical = technical.of(self._container, self.tracks, self._first)
        told.embedded = tags.read(self._job.path, self._container)
        if self._film is not None and self._shape is not None:
            told.width, told.height = self._shape.width, self._shape.height
            self._tell_film(self._film, told)
        if self._sound is not None:
            self._tell_sound(self._sound, told)
        if self._proxy is not None:
            self._tell_proxy(self._proxy, told)
        told.kind = "video" if self._film else "audio"
        group, _, name = found.media_type.partition("/")
        if group in ("video", "audio"):  # a container for both, and only what is inside tells which
            told.media_type = f"{told.kind}/{name}"
        return told

    def _tell_film(self, film: Film, told: Inspection) -> None:
        poster = film.poster()
        proofs.of_picture(self._job, poster, told)
        del told.technical["transparent"]
        told.pixel_hash = None  # the poster's, and nobody takes a film for its poster
        if film.is_blank:
            told.phash = None  # every black film would look like every other one
        told.key_frames = [] if film.is_blank else film.key_frames
        told.cuts = film.cuts
        told.technical["key_frame_seconds"] = film.key_frame_step
        small = poster.thumbnail_image(POSTER, height=POSTER, size="down")
        _add(self._job, told, "poster", bytes(small.jpegsave_buffer(Q=85, optimize_coding=True)), "image/jpeg", small)
        sheet, told.technical["storyboard"] = film.storyboard()
        _add(self._job, told, "storyboard", sheet, "image/jpeg", pyvips.Image.new_from_buffer(sheet, ""))

    def _tell_sound(self, sound: Sound, told: Inspection) -> None:
        told.chromaprint = sound.fingerprint()
        told.technical["loudness"] = sound.loudness
        if sound.is_silent:
            told.technical["silent"] = True
            told.notes.append("The sound is silent from start to end.")
        strip = sound.picture(*WAVEFORM)
        _add(self._job, told, "waveform", bytes(strip.pngsave_buffer(palette=True, colours=4)), "image/png", strip)
        proofs.add(self._job, told, "peaks", sound.peaks(), "application/json", recipe=_recipe("peaks"))
        if self._film is None:
            proofs.of_picture(self._job, self._cover_picture(told) or sound.picture(*SHEET), told)
            # waveforms look alike, and so do the tracks of an album: the picture says nothing about the sound
            told.phash, told.pixel_hash, told.colours = None, None, []
            del told.technical["transparent"]

    def _cover_picture(self, told: Inspection) -> Any:
        """Return the picture that comes with a sound; None when there is none that can be shown."""
        if not self._cover:
            return None
        path = self._job.scratch / "cover"
        path.write_bytes(self._cover)
        try:
            image = pictures.open_picture(path, fail_on="error")
            if image.width * image.height / 1e6 > self._job.limits["max_megapixels"]:
                raise pictures.Broken("is too large")
            return image.copy_memory()
        except (pyvips.Error, pictures.Broken, pictures.NoDecoder):
            told.notes.append("The picture that comes with the sound can't be shown.")
            return None
        finally:
            path.unlink()

    def _tell_proxy(self, made: Proxy, told: Inspection) -> None:
        size = self._shape.inside(SIDE) if self._shape else None
        width, height = size or (0, 0)
        proofs.keep(
            self._job, told, "proxy", made.path, proxy.VIDEO_TYPE if size else proxy.AUDIO_TYPE, width=width,
            height=height, recipe=proxy.RECIPE,
        )  # fmt: skip


def _main(tracks: list[Track]) -> Track | None:
    """Return the track that is shown or heard when nobody chooses."""
    return max(
        tracks,
        key=lambda track: (bool(track.stream.disposition & Disposition.default), -track.stream.index),
        default=None,
    )


def _too_long(seconds: float, most: float) -> Unusable:
    return Unusable(
        f"The file claims to play for {clock(seconds)}.", remedy=f"At most {clock(most)} are accepted; ask for parts."
    )


def _digest(job: Job, container: InputContainer) -> Digest | None:
    """Return what checks the sound against the checksum in its head; None where there is none."""
    if family(container) != "flac":
        return None
    try:
        with job.path.open("rb") as stream:
            info = mutagen.flac.FLAC(stream).info  # type: ignore[no-untyped-call]
    except mutagen.MutagenError:
        return None
    return Digest(info.bits_per_sample, f"{info.md5_signature:032x}") if info.md5_signature else None


def _recipe(name: str) -> dict[str, Any]:
    return {"proof": name, "version": 1}


def _add(job: Job, told: Inspection, name: str, data: bytes, media_type: str, image: Any) -> None:
    proofs.add(
        job, told, name, data, media_type, width=image.width, height=image.height, recipe=_recipe(name)
    )  # fmt: skip
