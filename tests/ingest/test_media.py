"""The parts that look into what plays: fingerprints, what is kept evenly, a decoder's time, parts of files."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

import films
import world
from dam.catalog.models import Version
from dam.errors import BadInput
from dam.ingest import batches, sandbox
from dam.ingest.media import chromaprint, clock, sequences, tones
from dam.ingest.media.moving import Gate, Thinned

#: What ``fpcalc`` 1.5.1 prints of :func:`tones_in_whole_numbers`.
REFERENCE = (
    "AQAAG9LiJEsTocmTB8lO5D6uE-WPZg8eHu5rPD-cT8PzJCPeKfgt-BGR50dyFR_u40eTo6bwJtLhJJJEBs2C6egTGQKkEMoQIAkDiBgAAHQGGQSI"
    "A1ZIB4AYAA"
)


def tones_in_whole_numbers(seconds):
    """Return square waves, four pitches a second, the same on every machine."""
    at = np.arange(int(seconds * chromaprint.RATE))
    step = at // 2756
    pitch = 110 + (step * step * 7 + step * 31) % 880
    high, low = at * pitch // 11025 % 2 * 2 - 1, at * pitch * 3 // 22050 % 2 * 2 - 1
    return (high * 6000 + low * 3000).astype(np.int16)


# ------------------------------------------------------------------------------------ fingerprints


def test_a_fingerprint_is_that_of_the_reference_implementation():
    items = chromaprint.fingerprint(tones_in_whole_numbers(6))
    assert chromaprint.encode(items) == REFERENCE
    assert (chromaprint.decode(REFERENCE) == items).all()


@pytest.mark.skipif(not shutil.which("fpcalc"), reason="fpcalc (libchromaprint-tools) is not installed")
@pytest.mark.parametrize("name", ["sound.wav", "sound.mp3", "sound.flac", "sound.m4a", "film.mp4", "film.webm"])
def test_fingerprints_agree_with_fpcalc(tmp_path, name):
    path, codecs = tmp_path / name, {"mp3": "libmp3lame", "flac": "flac", "m4a": "aac", "mp4": "aac", "webm": "libopus"}
    melody = films.music(20, seed=3)
    if name.endswith(".wav"):
        films.write_wav(path, melody)
    else:
        video = {"film.mp4": "libx264", "film.webm": "libvpx-vp9"}.get(name)
        films.write(path, video=video, audio=codecs[path.suffix[1:]], sound=melody, seconds=1)
    # some builds take the end of a short file for an error and print its fingerprint all the same
    run = subprocess.run(["fpcalc", "-json", str(path)], capture_output=True, text=True, check=False)
    theirs = chromaprint.decode(json.loads(run.stdout)["fingerprint"])
    ours = chromaprint.decode(world.look(path)["told"]["chromaprint"])
    common = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) <= 1
    assert (ours[:common] == theirs[:common]).mean() >= 0.95


@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_an_encoded_fingerprint_is_read_back(items):
    array = np.array(items, np.uint32)
    assert (chromaprint.decode(chromaprint.encode(array)) == array).all()


@pytest.mark.parametrize("text", ["", "!", "AAAA", "AQAB", REFERENCE[:40], "AgAAAA"])
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(BadInput):
        chromaprint.decode(text)


def test_two_silences_or_stills_are_not_alike():
    for item in (chromaprint.SILENT, 7):
        still = chromaprint.encode(np.full(200, item, np.uint32))
        assert chromaprint.similarity(still, still) == 0


def pictures(seeds):
    """Return the hashes of unrelated pictures, one a seed."""
    return [int(np.random.default_rng(seed).integers(-(2**63), 2**63 - 1)) for seed in seeds]


seeds = st.lists(st.integers(0, 10**6), min_size=8, max_size=40, unique=True)


@given(seeds, st.integers(0, 4))
def test_a_trimmed_film_is_found_in_the_whole(seeds, cut):
    frames = pictures(seeds)
    assert sequences.of_key_frames(frames, frames[cut:]) == 1
    assert sequences.of_key_frames(frames[cut:], frames) == 1


@given(seeds, seeds, st.integers(0, 62), st.data())
def test_alike_is_the_same_either_way_and_black_frames_say_nothing(one, other, bit, data):
    first, second = pictures(one), pictures(other)
    share = sequences.of_key_frames(first, second)
    assert 0 <= share <= 1
    assert sequences.of_key_frames(second, first) == share
    common = len({*one} & {*other})
    assert share == pytest.approx(max(common / len(one), common / len(other)))
    noisy = [frame ^ 1 << bit for frame in first]
    for at in data.draw(st.lists(st.integers(0, len(noisy)), max_size=20)):
        noisy.insert(at, sequences.BLANK)
    assert sequences.of_key_frames(noisy, second) == share


def test_films_with_the_same_card_are_not_the_same_film():
    """However long it is shown, and even where it is nearly all that one of them has."""
    card, *rest = pictures(range(20))
    long, other = [card] * 30 + rest[:4], [card] * 30 + rest[4:8]
    assert sequences.of_key_frames(long, other) < 0.3
    assert sequences.of_key_frames([card] * 8, [card] * 8 + rest) < 0.6
    assert sequences.of_key_frames([card] * 8, [card] * 30) == 1
    black = [sequences.BLANK] * 30
    assert sequences.of_key_frames([*black, *rest[:5]], [*black, *rest[5:9]]) == 0
    assert sequences.of_key_frames(black, black) == 0


@pytest.mark.parametrize("every", [2, 4, 16])
def test_a_longer_film_with_frames_further_apart_is_compared_all_the_same(every):
    frames = pictures(range(240))
    sparse, excerpt = frames[::every], frames[41:161]
    assert sequences.of_key_frames(frames, sparse, steps=(0.25, 0.25 * every)) == 1
    assert sequences.of_key_frames(sparse, excerpt, steps=(0.25 * every, 0.25)) == 1
    assert sequences.of_key_frames(sparse, pictures(range(300, 400)), steps=(0.25 * every, 0.25)) == 0


def test_silence_says_nothing():
    silent = chromaprint.fingerprint(np.zeros(6 * chromaprint.RATE, np.int16))
    assert set(silent.tolist()) == {chromaprint.SILENT}
    sounds = [
        chromaprint.encode(np.concatenate([silent, silent, chromaprint.fingerprint(tones_in_whole_numbers(4)[::step])]))
        for step in (1, -1)
    ]
    assert chromaprint.similarity(*sounds) < 0.3
    assert chromaprint.similarity(sounds[0], sounds[0]) == 1


# --------------------------------------------------------------------------------------- kept evenly


@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=300), st.integers(2, 20))
def test_what_is_kept_is_bounded_and_spans_the_whole(gaps, most):
    kept: Thinned[float] = Thinned(most, 0.25)
    times = np.cumsum([0.0, *gaps]).tolist()
    for moment in times:
        if kept.wants(moment):
            kept.add(moment, moment)
    found = [moment for moment, _ in kept.kept]
    assert 1 <= len(found) <= most
    assert found == sorted(found)
    assert found[0] == 0
    assert times[-1] - found[-1] <= kept.step + max(gaps)
    slots = [int(moment / kept.step + 1e-6) for moment in found]
    assert len(set(slots)) == len(slots)


def test_what_is_kept_of_a_longer_film_is_a_part_of_what_is_kept_of_its_start():
    short, long = Thinned[int](16, 0.25), Thinned[int](16, 0.25)
    for kept, seconds in ((short, 4), (long, 60)):
        for number in range(seconds * 25):
            if kept.wants(number / 25):
                kept.add(number / 25, number)
    start = {number for moment, number in long.kept if moment < 4}
    assert start <= {number for _, number in short.kept}


@pytest.mark.parametrize(("rate", "kept"), [(24, 24), (25, 25), (30, 30), (50, 25), (60, 30), (120, 30), (240, 30)])
def test_frames_are_left_out_evenly(rate, kept):
    gate = Gate(Fraction(rate))
    times = [number / rate for number in range(rate * 2) if gate.opens(number / rate)]
    assert len(times) == 2 * kept
    assert np.diff(times) == pytest.approx([1 / kept] * (2 * kept - 1))


@pytest.mark.parametrize("transfer", [tones.PQ, tones.HLG])
def test_brighter_stays_brighter_on_every_screen(transfer):
    signal = np.linspace(0, 1, 200)[:, None] * np.ones(3)
    shown = tones.shown(signal, transfer)
    assert (np.diff(shown[:, 0]) >= -1e-9).all()
    assert 0 <= shown.min() <= 0.05
    assert 0.98 < shown.max() <= 1
    assert np.ptp(shown, axis=1).max() < 0.01  # grey stays grey


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (5.26, "0:05.3"), (59.99, "1:00"), (760, "12:40"), (3723.4, "1:02:03")]
)
def test_times_are_written_as_people_do(seconds, text):
    assert clock(seconds) == text


# --------------------------------------------------------------------------------- a decoder's time


def test_a_decoder_that_asks_for_more_time_gets_it_up_to_a_limit(tmp_path, monkeypatch):
    """The other end of the socket is played here: it asks, is late, and answers."""

    def look(asked, longest):
        ours, theirs = socket.socketpair()
        box = sandbox.Sandbox()
        monkeypatch.setattr(box, "_start", lambda _bounds: setattr(box, "_socket", ours))

        def decoder():
            sandbox._receive(theirs)
            sandbox._send(theirs, {"more_time": asked})
            time.sleep(0.6)
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                sandbox._send(theirs, {"told": {}})

        thread = threading.Thread(target=decoder)
        thread.start()
        bounds = sandbox.Bounds(1, 0.3, longest)
        answer = box.look(tmp_path, name="a", limits={}, recipes=tmp_path, scratch=tmp_path, bounds=bounds)
        thread.join()
        theirs.close()
        box.stop()
        return answer

    assert look(60, 60) == {"told": {}}
    assert "took longer than 0.3 seconds" in look(60, 0)["unusable"]
    assert "took longer than 0.4 seconds" in look(60, 0.4)["unusable"]


# --------------------------------------------------------------------------------- the whole gate


def test_films_and_sounds_go_through_the_gate(services, tmp_path):
    film = films.write(tmp_path / "SPOT_ACME_20270301_v01.mp4", seconds=4)
    cut = films.write(tmp_path / "CUT_ACME_20270301_v01.mp4", seed=2, container={"movflags": "faststart"})
    world.truncated(cut, 0.6)
    sound = films.write(tmp_path / "JINGLE_ACME_20270301_v01.mp3", video=None, audio="libmp3lame", seconds=4)
    wrong = films.write(tmp_path / "film.mov", seed=3).rename(tmp_path / "NAME_ACME_20270301_v01.mp3")
    batch_id = world.drop(services, "drops/films", [film, cut, sound, wrong])
    assert world.ingest(services, batch_id) == {"ingested": 3, "quarantined": 1}
    receipt = {row["path"]: row for row in batches.receipt(services, batch_id=batch_id)}
    assert "cut off: it plays for" in receipt[cut.name]["reason"]
    assert any("is video/quicktime" in note for note in receipt[wrong.name]["notes"])
    with services.session() as session:
        version = session.scalars(select(Version).where(Version.filename == film.name)).one()
        assert (version.asset.kind, version.media_type) == ("video", "video/mp4")
        assert (version.width, version.height) == (320, 180)
        assert version.seconds == pytest.approx(4, abs=0.1)
        assert len(version.fingerprints["key_frames"]) == 16
        assert version.fingerprints["chromaprint"].startswith("AQAA")
        proofs = {row.recipe: row for row in version.renditions}
        assert set(proofs) == {
            "preview", "thumbnail", "poster", "storyboard", "waveform", "peaks", "proxy"
        }  # fmt: skip
        store, key = services.storage.resolve(proofs["proxy"].storage_uri)
        assert store.digest(key) == proofs["proxy"].sha256
        with store.local(key) as path, av.open(str(path)) as opened:
            assert opened.duration / 1e6 == pytest.approx(4, abs=0.1)
        heard = session.scalars(select(Version).where(Version.filename == sound.name)).one()
        assert (heard.asset.kind, heard.width, heard.phash) == ("audio", None, None)
        assert {"proxy", "preview", "thumbnail", "waveform"} <= {row.recipe for row in heard.renditions}
    assert world.drop(services, "drops/films", [film, cut, sound, wrong]) == batch_id
    assert world.ingest(services, batch_id) == {}
