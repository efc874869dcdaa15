"""Video and sound at the gate: what plays is proved, described and shown; what doesn't is refused in plain words."""

from __future__ import annotations

import io
import json
import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import mutagen.flac
import mutagen.id3
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import films
import world
from dam.ingest.media import chromaprint, sequences

QUICK = {"deadline": "realtime", "cpu-used": "8"}
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title><rdf:Alt>'
    '<rdf:li xml:lang="x-default">Höhenweg</rdf:li></rdf:Alt></dc:title><dc:subject><rdf:Bag><rdf:li>alp</rdf:li>'
    "<rdf:li>snow</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()
PICTURES = ("preview", "thumbnail", "poster", "storyboard", "waveform")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """One file of every kind, of two seconds."""
    folder = tmp_path_factory.mktemp("films")
    front = {"movflags": "faststart"}
    return {
        "mp4": films.write(folder / "film.mp4", container=front),
        "mov": films.write(folder / "film.mov"),
        "webm": films.write(folder / "film.webm", video="libvpx-vp9", audio="libopus", options=QUICK),
        "mkv": films.write(folder / "film.mkv"),
        "mp3": films.write(folder / "sound.mp3", video=None, audio="libmp3lame"),
        "flac": films.write(folder / "sound.flac", video=None, audio="flac"),
        "m4a": films.write(folder / "sound.m4a", video=None, audio="aac", container=front),
        "wav": films.write_wav(folder / "sound.wav", films.music(2)),
    }


@pytest.fixture(scope="module")
def told(made) -> dict[str, dict]:
    """What the look inside told of each, its kind and type in it."""
    answers = {name: world.look(path) for name, path in made.items()}
    return {name: answer["told"] | answer for name, answer in answers.items()}


def named(told) -> dict[str, dict]:
    return {proof["name"]: proof for proof in told["proofs"]}


def shown(proof) -> Image.Image:
    return Image.open(io.BytesIO(proof["data"]))


def refused(path, **limits) -> str:
    answer = world.look(path, **limits)
    assert "told" not in answer, answer.get("told", {}).get("notes")
    return answer.get("unusable") or answer["opaque"]


# ------------------------------------------------------------------------------------ what it is


def test_every_kind_is_told_by_its_content(told):
    kinds = {name: answer["kind"] for name, answer in told.items()}
    assert kinds == dict.fromkeys(("mp4", "mov", "webm", "mkv"), "video") | dict.fromkeys(
        ("mp3", "flac", "m4a", "wav"), "audio"
    )
    for name, answer in told.items():
        assert answer["seconds"] == pytest.approx(2, abs=0.1), name
        assert answer["notes"] == [], name
        streams = {stream["type"]: stream for stream in answer["technical"]["streams"]}
        assert streams["audio"]["channels"] == 2
        if answer["kind"] == "video":
            assert (answer["width"], answer["height"]) == (320, 180)
            assert streams["video"]["frames"] == 50
            assert answer["technical"]["frame_rate"] == "25"
            assert answer["technical"]["frame_rate_mode"] == "constant"
            assert not answer["technical"]["interlaced"]
        else:
            assert (answer["width"], answer["phash"], answer["colours"]) == (None, None, [])


def test_a_video_has_all_that_people_look_at(told):
    for name in ("mp4", "mov", "webm", "mkv"):
        proofs = named(told[name])
        assert set(proofs) == {*PICTURES, "peaks", "proxy"}
        for picture in PICTURES:
            assert shown(proofs[picture]).size == (proofs[picture]["width"], proofs[picture]["height"])
        assert shown(proofs["poster"]).size == (320, 180)
        sheet = told[name]["technical"]["storyboard"]
        across, down = sheet["columns"] * sheet["tile_width"], sheet["rows"] * sheet["tile_height"]
        assert shown(proofs["storyboard"]).size == (across, down)
        assert len(sheet["seconds"]) <= sheet["columns"] * sheet["rows"]
        assert len(told[name]["key_frames"]) == 8


def test_a_sound_is_shown_by_its_waveform(told):
    for name in ("mp3", "flac", "m4a", "wav"):
        proofs = named(told[name])
        assert set(proofs) == {"preview", "thumbnail", "waveform", "peaks", "proxy"}
        peaks = json.loads(proofs["peaks"]["data"])
        assert peaks["length"] * 2 == len(peaks["data"])
        assert peaks["length"] * peaks["samples_per_pixel"] / peaks["sample_rate"] == pytest.approx(2, abs=0.1)
        assert max(peaks["data"]) > 30
        assert min(peaks["data"]) < -30
        assert len(shown(proofs["preview"]).getcolors(1 << 20)) > 1


def test_the_proxy_plays_in_a_browser_before_it_is_loaded(told):
    for name, answer in told.items():
        proxy = named(answer)["proxy"]
        assert proxy["media_type"] == ("video/mp4" if answer["kind"] == "video" else "audio/mp4")
        assert proxy["data"].index(b"moov") < proxy["data"].index(b"mdat")
        with av.open(io.BytesIO(proxy["data"])) as opened:
            assert opened.duration / 1e6 == pytest.approx(2, abs=0.1)
            codecs = {stream.type: stream.codec_context.name for stream in opened.streams}
            expected = {"audio": "aac"} | ({"video": "h264"} if answer["kind"] == "video" else {})
            assert codecs == expected, name
            if answer["kind"] == "video":
                frames = list(opened.decode(video=0))
                assert len(frames) == 50
                assert (frames[0].width, frames[0].height) == (proxy["width"], proxy["height"]) == (320, 180)


def test_the_same_file_gives_the_same_bytes(made, told):
    again = world.look(made["mp4"])["told"]
    assert {name: proof["data"] for name, proof in named(again).items()} == {
        name: proof["data"] for name, proof in named(told["mp4"]).items()
    }


def test_a_phones_upright_video_is_upright_everywhere(tmp_path):
    halves = np.zeros((180, 320, 3), np.uint8)
    halves[:, :160], halves[:, 160:] = (220, 30, 30), (30, 30, 220)
    halves[::6] //= 2
    path = films.turned(films.write(tmp_path / "phone.mov", frames=[halves] * 25))
    answer = world.look(path)["told"]
    assert (answer["width"], answer["height"], answer["technical"]["rotation"]) == (180, 320, 90)
    proofs = named(answer)
    with av.open(io.BytesIO(proofs["proxy"]["data"])) as opened:
        pictures = [shown(proofs["poster"]), next(opened.decode(video=0)).to_image()]
    for picture in pictures:
        assert picture.size == (180, 320)
        above, below = picture.getpixel((90, 43)), picture.getpixel((90, 283))
        assert above[0] > 150 > above[2]  # turned clockwise, left goes up
        assert below[2] > 150 > below[0]


def test_pixels_that_are_not_square_are_shown_as_wide_as_they_are_meant(tmp_path):
    path = films.write(tmp_path / "dv.mp4", size=(360, 288), context={"sample_aspect_ratio": Fraction(16, 11)})
    answer = world.look(path)["told"]
    assert (answer["width"], answer["height"]) == (524, 288)
    assert answer["technical"]["streams"][0]["pixel_aspect"] == "16/11"


def test_a_large_picture_gets_a_small_proxy_at_half_the_frames(tmp_path):
    frames = list(films.scenes(0.5, size=(1280, 720), rate=50))
    path = films.write(tmp_path / "large.mp4", rate=50, size=(1280, 720), frames=frames, sound=films.music(0.5))
    proxy = named(world.look(path)["told"])["proxy"]
    with av.open(io.BytesIO(proxy["data"])) as opened:
        shown_at = [frame.time for frame in opened.decode(video=0)]
    assert (proxy["width"], proxy["height"]) == (640, 360)
    assert np.diff(shown_at) == pytest.approx([0.04] * 12, abs=0.002)


def test_uneven_frames_are_told_and_kept(tmp_path):
    times = [0, 0.04, 0.08, 0.3, 0.34, 0.38, 0.9, 1.0]
    path = films.write(tmp_path / "screen.mp4", seconds=8 / 25, times=times, sound=films.music(1.2))
    answer = world.look(path)["told"]
    assert answer["technical"]["frame_rate_mode"] == "variable"
    with av.open(io.BytesIO(named(answer)["proxy"]["data"])) as opened:
        assert [frame.time for frame in opened.decode(video=0)] == pytest.approx(times, abs=0.002)


def test_lines_by_turns_are_told(tmp_path):
    path = films.write(tmp_path / "camera.mp4", options={"x264-params": "tff=1"})
    answer = world.look(path)["told"]
    assert answer["technical"]["interlaced"]
    assert len(answer["key_frames"]) == 8


def test_high_dynamic_range_is_told_and_mapped_to_the_screen(tmp_path):
    """Grey at 100 cd/m² is coded below the middle, and shown well above it."""
    grey = np.full((90, 160, 3), 130, np.uint8)  # PQ signal 0.51: 100 cd/m²
    grey[:, ::4] = 60
    told = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    path = films.write(
        tmp_path / "hdr.mp4", video="libx265", pixels="yuv420p10le", size=(160, 90), frames=[grey] * 10,
        options=options, context=told, sound=films.music(0.4),
    )  # fmt: skip
    answer = world.look(path)["told"]
    technical = answer["technical"]
    assert (technical["hdr"], technical["colour_primaries"]) == ("PQ", "BT2020")
    assert next(stream["bits"] for stream in technical["streams"] if stream["type"] == "video") == 10
    brightest = np.asarray(shown(named(answer)["poster"]).convert("L")).max()
    assert 165 < brightest < 215


def test_the_poster_is_neither_black_nor_blurred(tmp_path):
    [sharp] = films.scenes(0.04, size=(320, 180))
    sharp = np.array(sharp)
    sharp[::8], sharp[:, ::8] = 10, 250
    blurred = np.asarray(Image.fromarray(sharp).resize((4, 3)).resize((320, 180), Image.Resampling.BICUBIC))
    frames = [np.zeros_like(sharp)] * 12 + [blurred] * 13 + [sharp] * 12 + [np.zeros_like(sharp)] * 13
    path = films.write(tmp_path / "fade.mp4", frames=frames)
    poster = np.asarray(shown(named(world.look(path)["told"])["poster"]), float)
    away = [np.abs(poster - other).mean() for other in (sharp, blurred, 0)]
    assert min(away) == away[0]


def test_a_black_film_looks_like_no_other(tmp_path):
    answer = world.look(films.write(tmp_path / "black.mp4", frames=[np.zeros((180, 320, 3), np.uint8)] * 50))["told"]
    assert answer["phash"] is None
    assert answer["key_frames"] == []


def test_a_container_for_both_that_holds_sound_alone_is_a_sound(tmp_path):
    path = films.write(tmp_path / "voice.mp4", video=None)
    answer = world.look(path)
    assert (answer["kind"], answer["media_type"]) == ("audio", "audio/mp4")


# ---------------------------------------------------------------------------------- what it says


def test_id3_of_every_age_is_read(made, tmp_path):
    path = tmp_path / "tagged.mp3"
    path.write_bytes(made["mp3"].read_bytes())
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="Grüße"))
    tags.add(mutagen.id3.TPE1(encoding=3, text=["Ana", "Ben"]))
    tags.add(mutagen.id3.TXXX(encoding=3, desc="LICENCE", text="CC0"))
    tags.add(mutagen.id3.PRIV(owner="XMP", data=XMP))
    cover = io.BytesIO()
    Image.new("RGB", (300, 300), (200, 20, 20)).save(cover, "PNG")
    tags.add(mutagen.id3.APIC(encoding=3, mime="image/png", type=3, desc="", data=cover.getvalue()))
    tags.save(path, v2_version=3)
    answer = world.look(path)["told"]
    embedded = answer["embedded"]
    assert embedded["ID3.TIT2"] == "Grüße"
    assert embedded["ID3.TPE1"] in (["Ana", "Ben"], "Ana/Ben")
    assert embedded["ID3.TXXX.LICENCE"] == "CC0"
    assert embedded["Xmp.dc.title"] == {"x-default": "Höhenweg"}
    assert embedded["Xmp.dc.subject"] == ["alp", "snow"]
    assert shown(named(answer)["preview"]).getpixel((150, 150))[0] > 180
    assert answer["phash"] is None  # all tracks of an album have its cover
    old = tmp_path / "old.mp3"
    old.write_bytes(made["mp3"].read_bytes() + b"TAG" + b"Altes Lied".ljust(125, b"\0"))
    assert world.look(old)["told"]["embedded"]["ID3.TIT2"] == "Altes Lied"


def test_text_that_says_the_wrong_encoding_is_mended(made, tmp_path):
    path = tmp_path / "mojibake.mp3"
    path.write_bytes(made["mp3"].read_bytes())
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=0, text="Übung".encode().decode("latin-1")))
    tags.save(path)
    assert world.look(path)["told"]["embedded"]["ID3.TIT2"] == "Übung"


def test_vorbis_comments_are_read(made, tmp_path):
    path = tmp_path / "tagged.flac"
    path.write_bytes(made["flac"].read_bytes())
    opened = mutagen.flac.FLAC(path)
    opened["title"], opened["artist"] = "Lied", ["Ana", "Ben"]
    opened.save()
    embedded = world.look(path)["told"]["embedded"]
    assert (embedded["Vorbis.title"], embedded["Vorbis.artist"]) == ("Lied", ["Ana", "Ben"])


def test_broadcast_wav_is_read(tmp_path):
    bext = bytearray(602)
    bext[:11] = b"Interview 3"
    bext[256:261] = b"Sound"
    bext[320:338] = b"2027-03-0111-22-33"
    bext[338:346] = (44_100).to_bytes(8, "little")
    info = b"INFOINAM\x06\0\0\0Titel\0ICOP\x06\0\0\0\xa9 2027"
    ixml = b"<BWFXML><PROJECT>Spring</PROJECT><SCENE>4</SCENE><SPEED><X>1</X></SPEED></BWFXML>"
    chunks = ((b"bext", bytes(bext)), (b"LIST", info), (b"iXML", ixml), (b"_PMX", XMP))
    embedded = world.look(films.write_wav(tmp_path / "b.wav", films.music(1), *chunks))["told"]["embedded"]
    assert embedded == embedded | {
        "RIFF.INAM": "Titel", "RIFF.ICOP": "© 2027", "RIFF.bext.Description": "Interview 3",
        "RIFF.bext.Originator": "Sound", "RIFF.bext.TimeReference": "44100",
        "RIFF.bext.DateTimeOriginal": "2027-03-01T11:22:33", "RIFF.iXML.PROJECT": "Spring", "RIFF.iXML.SCENE": "4",
        "Xmp.dc.title": {"x-default": "Höhenweg"},
    }  # fmt: skip


def test_quicktime_metadata_is_read(tmp_path):
    apple = {
        "com.apple.quicktime.title": "Küste", "com.apple.quicktime.creationdate": "2027-03-01T11:00:00+0100",
        "com.apple.quicktime.location.ISO6709": "+48.1371+011.5754+519.000/",
    }  # fmt: skip
    path = films.write(tmp_path / "phone.mov", metadata=apple, container={"movflags": "use_metadata_tags"})
    embedded = world.look(path)["told"]["embedded"]
    assert embedded == embedded | {f"QuickTime.{key}": value for key, value in apple.items()}
    plain = {"title": "Küste", "location": "+48.1371+011.5754/", "copyright": "© Ana", "artist": "Ana"}
    path = films.write(tmp_path / "camera.mp4", metadata=plain | {"creation_time": "2027-03-01T10:00:00Z"})
    path.write_bytes(path.read_bytes() + _box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + XMP))
    embedded = world.look(path)["told"]["embedded"]
    assert embedded["QuickTime.title"] == "Küste"
    assert embedded["QuickTime.creation_time"] == "2027-03-01T10:00:00.000000Z"
    assert embedded["QuickTime.location"].startswith("+48.137")
    assert embedded["Xmp.dc.title"] == {"x-default": "Höhenweg"}


def test_matroska_tags_and_chapters_are_read(tmp_path):
    path = films.write(tmp_path / "film.mkv", metadata={"title": "Küste", "ARTIST": "Ana"})
    embedded = world.look(path)["told"]["embedded"]
    assert (embedded["Matroska.title"], embedded["Matroska.ARTIST"]) == ("Küste", "Ana")


def _box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), name) + data


# ------------------------------------------------------------------------------------ how it sounds


def test_loudness_is_that_of_the_standard(tmp_path):
    """EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS measures -23.0 LUFS."""
    time = np.arange(films.RATE * 10) / films.RATE
    sine = (np.sin(2 * np.pi * 1000 * time) * 10 ** (-23 / 20) * 32767).astype(np.int16)
    told = world.look(films.write_wav(tmp_path / "sine.wav", np.stack([sine, sine])))["told"]
    assert told["technical"]["loudness"]["lufs"] == pytest.approx(-23, abs=0.1)
    assert told["technical"]["loudness"]["peak_dbfs"] == pytest.approx(-23, abs=0.1)


def test_silence_is_told_and_has_no_fingerprint(tmp_path):
    told = world.look(films.write_wav(tmp_path / "silence.wav", films.silence(5)))["told"]
    assert told["technical"]["silent"]
    assert told["chromaprint"] is None
    assert "lufs" not in told["technical"]["loudness"]
    assert told["notes"] == ["The sound is silent from start to end."]


def test_a_film_without_sound_is_fine(tmp_path):
    told = world.look(films.write(tmp_path / "mute.mp4", audio=None))["told"]
    assert set(named(told)) == {"preview", "thumbnail", "poster", "storyboard", "proxy"}
    assert told["chromaprint"] is None


# ------------------------------------------------------------------------------------------ alike


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> dict[str, dict]:
    """A film of 12 seconds, the same one through other encoders, trimmed, and another film."""
    folder = tmp_path_factory.mktemp("copies")
    one = films.write(folder / "one.mp4", seconds=12)
    paths = {
        "one": one,
        "again": films.reencoded(one, folder / "again.webm", scale=0.5, bit_rate=48_000),
        "trimmed": films.reencoded(one, folder / "trimmed.webm", start=2.3),
        "other": films.write(folder / "other.mp4", seconds=12, seed=7),
    }
    return {name: world.look(path)["told"] for name, path in paths.items()}


def test_the_same_film_encoded_again_is_found_by_its_key_frames(copies):
    def alike(name):
        return sequences.of_key_frames(copies["one"]["key_frames"], copies[name]["key_frames"])

    assert alike("one") == 1
    assert alike("again") > 0.9
    assert alike("trimmed") > 0.7
    assert alike("other") < 0.4


def test_cuts_are_the_same_frames_wherever_a_film_begins(copies):
    """A new picture every second: one cut each, and those of the trimmed film are among those of the whole."""
    assert [len(copies[name]["cuts"]) for name in ("one", "again", "other", "trimmed")] == [11, 11, 11, 9]
    for name in ("again", "trimmed"):
        whole, part = sequences.seen(copies["one"]["cuts"]), sequences.seen(copies[name]["cuts"])
        apart = np.bitwise_count(whole[-len(part) :] ^ part)
        assert apart.max() <= 4, name
    apart = np.bitwise_count(sequences.seen(copies["one"]["cuts"]) ^ sequences.seen(copies["other"]["cuts"]))
    assert apart.min() > sequences.ALIKE


def test_neither_noise_nor_a_fade_is_a_cut(tmp_path):
    noise = [np.random.default_rng(at).integers(0, 255, (90, 160, 3), np.uint8) for at in range(50)]
    [scene] = films.scenes(0.04, size=(160, 90))
    fade = [np.uint8(scene * (at / 49)) for at in range(50)]
    for name, frames in (("noise", noise), ("fade", fade)):
        told = world.look(films.write(tmp_path / f"{name}.mp4", size=(160, 90), frames=frames))["told"]
        assert told["cuts"] == [], name


def test_the_same_sound_encoded_again_is_found_by_its_fingerprint(copies):
    def alike(name):
        return chromaprint.similarity(copies["one"]["chromaprint"], copies[name]["chromaprint"])

    assert alike("one") == 1
    assert alike("again") > 0.9
    assert alike("trimmed") > 0.8
    assert alike("other") < 0.5


# ----------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("name", ["mp4", "mov", "webm", "mkv", "mp3", "flac", "m4a", "wav"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.001, 0.93))
def test_a_file_that_is_cut_off_is_refused(made, tmp_path, name, share):
    whole = made[name].read_bytes()
    path = tmp_path / made[name].name
    path.write_bytes(whole[: max(64, int(len(whole) * share))])
    assert re.search(
        r"cut off|missing or damaged|never finished|only .* are there|be decoded|nothing to see", refused(path)
    )


@pytest.mark.parametrize("name", ["mp4", "webm", "mp3", "flac", "wav"])
def test_a_refusal_says_how_far_it_plays(made, tmp_path, name):
    whole = made[name].read_bytes()
    path = tmp_path / made[name].name
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    assert re.search(r"plays for 0:0[01]\.\d", refused(path))


@pytest.mark.parametrize("name", ["mp4", "mov", "webm", "mkv", "mp3", "flac", "m4a", "wav"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_are_changed_there_is_an_answer(made, tmp_path, name, data):
    changed = bytearray(made[name].read_bytes())
    for at in data.draw(st.lists(st.integers(12, len(changed) - 1), min_size=1, max_size=60)):
        changed[at] = data.draw(st.integers(0, 255))
    path = tmp_path / made[name].name
    path.write_bytes(changed)
    answer = world.look(path)
    assert len({"told", "unusable", "opaque"} & set(answer)) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.2, 0.99), flip=st.integers(1, 255))
def test_one_changed_byte_of_lossless_sound_is_found(made, tmp_path, share, flip):
    changed = bytearray(made["flac"].read_bytes())
    changed[int(len(changed) * share)] ^= flip
    path = tmp_path / "flipped.flac"
    path.write_bytes(changed)
    assert re.search("damaged|cut off", refused(path))


def test_a_few_damaged_frames_are_noted_and_many_are_refused(tmp_path):
    whole = films.write(tmp_path / "long.mp4", seconds=8, options={"g": "12"}, container={"movflags": "faststart"})
    with av.open(str(whole)) as opened:
        places = [
            (packet.pos, packet.size) for packet in opened.demux(video=0) if packet.size and not packet.is_keyframe
        ]
    path = tmp_path / "damaged.mp4"
    for count, expected in (
        (1, r"1 of 200 frames are damaged or missing; players hide it"),
        (40, "The file is damaged: "),
    ):
        changed = bytearray(whole.read_bytes())
        for at, size in places[5 : 5 + count]:
            changed[at + 4 : at + size] = bytes(b ^ 0x5A for b in changed[at + 4 : at + size])
        path.write_bytes(changed)
        answer = world.look(path)
        assert re.search(expected, " ".join(answer["told"]["notes"]) if count == 1 else answer["unusable"])


def test_a_film_without_its_index_is_refused(made, tmp_path):
    path = tmp_path / "film.mov"
    path.write_bytes(made["mov"].read_bytes().replace(b"moov", b"zzzz"))
    assert "its index is missing" in refused(path)


def test_a_container_that_claims_more_than_is_there_is_refused(made, tmp_path):
    changed = bytearray(made["mkv"].read_bytes())
    at = changed.index(b"\x44\x89\x88") + 3  # Duration, a double
    changed[at : at + 8] = struct.pack(">d", struct.unpack(">d", changed[at : at + 8])[0] * 30)
    path = tmp_path / "claims.mkv"
    path.write_bytes(changed)
    assert re.search(r"says that it plays for 1:0\d, but only 0:02\.\d", refused(path))


def test_an_empty_container_is_refused(tmp_path):
    path = tmp_path / "empty.mp4"
    path.write_bytes(_box(b"ftyp", b"isom\0\0\2\0isom") + _box(b"moov", _box(b"mvhd", bytes(100))))
    assert re.search("nothing to see or to hear|missing or damaged", refused(path))


def test_what_claims_to_be_huge_is_refused_before_it_is_decoded(made):
    assert "at most 0:01" in refused(made["mp4"], max_seconds=1).lower()
    assert "320 × 180 pixels" in refused(made["mp4"], max_megapixels=0.05)


def test_a_codec_nobody_knows_is_kept_for_a_person(made, tmp_path):
    for fourcc, expected in ((b"zzz1", "no decoder"), (b"encv", "copy-protected|no decoder")):
        path = tmp_path / "unknown.mp4"
        path.write_bytes(made["mp4"].read_bytes().replace(b"avc1", fourcc))
        assert re.search(expected, world.look(path)["opaque"])


def test_a_list_of_other_files_is_not_followed(tmp_path):
    """What begins like a film and is a playlist opens no other file and no connection."""
    secret = films.write(tmp_path / "secret.mp4")
    path = tmp_path / "list.mp3"
    path.write_bytes(
        b"ID3\x03\0\0\0\0\0\0#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n" + str(secret).encode() + b"\n"
    )
    assert "told" not in world.look(path)
