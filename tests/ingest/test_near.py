"""Films and sounds that are the same ones, found at the gate, with the truth in words; and those that only seem so."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import delete, func, select
from typer.testing import CliRunner

import films
import world
from dam.catalog.models import FingerprintMark, NearDuplicate, Version
from dam.cli import app
from dam.ingest import batches, duplicates, gate, near
from dam.ingest.media import sequences
from dam.services import Services

QUICK = {"deadline": "realtime", "cpu-used": "8"}
SECONDS = 8


def card() -> list[np.ndarray]:
    """A second of black, then two of a sharp card that makes a better poster than any scene."""
    sharp = np.zeros((180, 320, 3), np.uint8)
    sharp[::6], sharp[:, ::6], sharp[60:120, 80:240] = 230, 230, (200, 120, 40)
    return [np.zeros_like(sharp)] * 25 + [sharp] * 50


def sliced(source: Path, target: Path, start: float, **options) -> Path:
    """Write a film's picture alone again, from a moment on."""
    with av.open(str(source)) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0) if frame.time >= start]
    return films.write(target, frames=frames, audio=None, **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Films and sounds by name; what is ``…-AGAIN`` is a copy of the one before the dash."""
    folder = tmp_path_factory.mktemp("near")

    def at(name, extension="mp4"):
        return folder / f"{name}_ACME_20270301_v01.{extension}"

    film = films.write(at("FILM"), seconds=SECONDS)
    carded = {
        name: films.write(at(name), frames=[*card(), *films.scenes(5, seed=seed)], sound=films.music(8, seed=seed))
        for name, seed in (("CARD-A", 31), ("CARD-B", 32))
    }
    scored = {
        name: films.write(at(name), seconds=SECONDS, seed=seed, sound=films.music(SECONDS, seed=77))
        for name, seed in (("SCORE-A", 41), ("SCORE-B", 42))
    }
    black = [np.zeros((180, 320, 3), np.uint8)] * 50
    song, quiet = films.music(12, seed=51), films.silence(9)
    files = {
        "FILM": film,
        "FILM-SMALL": films.reencoded(film, at("FILM-SMALL", "webm"), scale=0.5, bit_rate=48_000),
        "FILM-LATER": films.reencoded(film, at("FILM-LATER", "webm"), start=2.3),
        "FILM-MUTE": sliced(film, at("FILM-MUTE", "mkv"), 3.1),
        "FILM-DUBBED": films.write(at("FILM-DUBBED", "mov"), seconds=SECONDS, sound=films.music(SECONDS, seed=9)),
        "OTHER": films.write(at("OTHER"), seconds=SECONDS, seed=7),
        **carded,
        **scored,
        "BLACK-A": films.write(at("BLACK-A"), frames=black, audio=None),
        "BLACK-B": films.write(at("BLACK-B"), frames=black[:20], audio=None, options={"crf": "40"}),
        "SONG": films.write_wav(at("SONG", "wav"), song),
        "SONG-MP3": films.write(at("SONG-MP3", "mp3"), video=None, audio="libmp3lame", sound=song, bit_rate=64_000),
        "SONG-M4A": films.write(at("SONG-M4A", "m4a"), video=None, audio="aac", sound=song[:, 103_000:]),
        "TUNE": films.write_wav(at("TUNE", "wav"), films.music(12, seed=52)),
        "SCORE": films.write_wav(at("SCORE", "wav"), films.music(SECONDS, seed=77)),
        **{
            name: films.write_wav(at(name, "wav"), np.concatenate([quiet, films.music(4, seed=seed)], axis=1))
            for name, seed in (("QUIET-A", 61), ("QUIET-B", 62))
        },
    }  # fmt: skip
    return files


SAME = [("FILM", "FILM-DUBBED", "FILM-LATER", "FILM-MUTE", "FILM-SMALL"), ("SONG", "SONG-M4A", "SONG-MP3")]
EXPECTED = {frozenset((one, other)) for group in SAME for one in group for other in group if one != other}


def found(services) -> dict[frozenset[str], str]:
    """Return how pairs are alike, by their assets' names."""
    return {
        frozenset(side["asset"].removesuffix("_ACME") for side in pair["versions"]): pair["how"]
        for pair in duplicates.pairs(services, limit=200)["pairs"]
    }


def count(services, model) -> int:
    with services.session() as session:
        return session.scalar(select(func.count()).select_from(model))


def chunked(services, files, location="drops/a"):
    batch_id = world.drop(services, location, files)
    return batch_id, [one for chunk in batches.plan_chunks(services, batch_id=batch_id) for one in chunk]


# --------------------------------------------------------------------------------------------- which, and how


def test_copies_are_linked_whatever_their_coder_and_start_and_nothing_else_is(services, made):
    batch_id = world.drop(services, "drops/a", [*made.values()])
    assert world.ingest(services, batch_id) == {"ingested": len(made)}
    alike = found(services)
    assert set(alike) == EXPECTED
    assert alike[frozenset(("FILM", "FILM-SMALL"))].startswith("same film: 100 % of its key frames, same sound: 9")
    assert alike[frozenset(("FILM", "FILM-DUBBED"))] == "same film: 100 % of its key frames, another sound"
    assert alike[frozenset(("FILM", "FILM-MUTE"))].startswith("same film: ")
    assert "sound" not in alike[frozenset(("FILM", "FILM-MUTE"))]
    assert all(words.startswith("same sound: ") for pair, words in alike.items() if "SONG" in " ".join(pair))
    with services.session() as session:
        one, other = (
            session.scalars(select(Version).where(Version.filename == made[name].name)).one()
            for name in ("CARD-A", "CARD-B")
        )
        assert ((one.phash ^ other.phash) & (2**64 - 1)).bit_count() <= 6, "their posters are the card"
        posters = session.scalars(select(Version.phash).where(Version.filename.like("FILM%"))).all()
        assert len({*posters}) > 2, "posters of copies differ"
    nearest = [pair["alike"] for pair in duplicates.pairs(services, limit=200)["pairs"]]
    assert nearest == sorted(nearest, reverse=True)
    assert all(0.7 <= share <= 1 for share in nearest)


def test_whoever_comes_first_or_twice_the_pairs_are_the_same(services, made):
    chosen = [path for name, path in made.items() if name not in ("FILM-SMALL", "CARD-B", "OTHER", "QUIET-B")]
    world.ingest(services, world.drop(services, "drops/a", chosen))

    def pairs(session):
        columns = (NearDuplicate.version_id, NearDuplicate.other_id, NearDuplicate.key_frames, NearDuplicate.sound)
        return {tuple(row[:2]): tuple(row[2:]) for row in session.execute(select(*columns))}

    with services.session() as session:
        versions = session.scalars(select(Version)).all()
        before = pairs(session)

        @settings(max_examples=10, deadline=None)
        @given(st.data())
        def in_any_order(data):
            session.execute(delete(NearDuplicate))
            session.execute(delete(FingerprintMark))
            for version in data.draw(st.permutations([*versions, *versions[::3]])):
                near.link(session, version, bits=6)
            after = pairs(session)
            assert set(after) == set(before)
            for pair, (shown, heard) in before.items():
                assert after[pair] == (pytest.approx(shown), pytest.approx(heard))

        in_any_order()


def test_a_picture_is_linked_with_the_poster_it_looks_like(services, tmp_path):
    [scene] = films.scenes(0.04)
    film = films.write(tmp_path / "FILM_ACME_20270301_v01.mp4", frames=[scene] * 50)
    still = tmp_path / "STILL_ACME_20270301_v01.png"
    Image.fromarray(scene).save(still)
    world.ingest(services, world.drop(services, "drops/a", [film, still]))
    [words] = found(services).values()
    assert words.startswith("same picture as the film's poster: ")
    assert not duplicates.pairs(services)["pairs"][0]["same_pixels"]


def test_a_long_film_is_found_by_its_cuts_where_other_moments_of_it_are_kept(services, tmp_path):
    """Key frames stand two seconds apart, and a copy that begins at another one shows no moment of the other's."""
    film = films.write(tmp_path / "LONG_ACME_20270301_v01.mp4", seconds=262, size=(96, 54), rate=15, audio=None)
    later = sliced(film, tmp_path / "LATER_ACME_20270301_v01.mkv", 1.5, size=(96, 54), rate=15)
    world.ingest(services, world.drop(services, "drops/a", [film, later]))
    with services.session() as session:
        one, other = session.scalars(select(Version)).all()
        assert one.technical["key_frame_seconds"] == other.technical["key_frame_seconds"] == 2
        assert sequences.of_key_frames(one.fingerprints["key_frames"], other.fingerprints["key_frames"]) < 0.1
    [words] = found(services).values()
    assert words.startswith("same film: 9")


def test_versions_of_one_asset_are_no_pair(services, made, tmp_path):
    second = tmp_path / "SONG_ACME_20270302_v02.mp3"
    second.write_bytes(made["SONG-MP3"].read_bytes())
    for number, path in enumerate((made["SONG"], second)):
        world.ingest(services, world.drop(services, f"drops/{number}", [path]))
    assert found(services) == {}
    assert count(services, FingerprintMark) > 0


# ------------------------------------------------------------------------------------------------- and again


def test_two_workers_and_the_same_files_again_make_no_doubles(services, made):
    files = [made[name] for group in SAME for name in group]
    batch_id, ids = chunked(services, files)
    known = {"services": services, "batch_id": batch_id}
    workers = [
        threading.Thread(target=gate.ingest_chunk, kwargs=known | {"file_ids": part}) for part in (ids, ids[::-1])
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    world.ingest(services, batch_id)  # what one worker had in hand when the other came by
    assert set(found(services)) == EXPECTED
    before = count(services, NearDuplicate), count(services, FingerprintMark)
    assert world.ingest(services, world.drop(services, "drops/again", files)) == {"duplicate": len(files)}
    assert (count(services, NearDuplicate), count(services, FingerprintMark)) == before


@pytest.mark.parametrize("step", ["_keep", "marks", "_link_fingerprints"])
def test_killed_while_it_links_and_run_again_ends_the_same(services, made, monkeypatch, step):
    files = [made["SONG"], made["SONG-MP3"]]
    batch_id, ids = chunked(services, files)
    as_it_is, calls = getattr(near, step), []

    def killed(*args, **kwargs):
        as_it_is(*args, **kwargs)
        calls.append(step)
        if len(calls) > (step != "_keep"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(near, step, lambda *args, **kwargs: killed(*args, **kwargs) or as_it_is(*args, **kwargs))
        with pytest.raises(KeyboardInterrupt):
            gate.ingest_chunk(services, batch_id=batch_id, file_ids=ids)
    assert found(services) == {}
    assert world.ingest(services, batch_id) == {"ingested": 1}
    assert set(found(services)) == {frozenset(("SONG", "SONG-MP3"))}


def test_what_was_there_before_is_found_by_the_command(services, made, monkeypatch):
    """A library of before there were marks: its pairs are found, and what a librarian said of one stays."""
    world.ingest(services, world.drop(services, "drops/a", [made[name] for group in SAME for name in group]))
    before = found(services)
    with services.session() as session:
        ids = session.scalars(select(Version.id)).all()
        session.execute(delete(NearDuplicate))
        session.execute(delete(FingerprintMark))
    monkeypatch.setattr(Services, "from_env", classmethod(lambda cls: services))
    for _ in range(2):
        told = CliRunner().invoke(app, ["duplicates", "find"])
        assert told.exit_code == 0
        assert told.output.startswith(f"{len(ids)} films and sounds were compared")
        assert found(services) == before
    pair = duplicates.pairs(services)["pairs"][0]
    sides = (pair["version_id"], pair["other_id"])
    duplicates.answer(services, version_ids=sides, said="different", person="libby")
    assert near.catch_up(services) == len(ids)
    assert duplicates.pairs(services)["total"] == len(before) - 1


def test_what_everybody_has_hides_nobodys_copy(services, made, monkeypatch):
    """A closing card's marks find only the newest that have it; a copy is found by what is its own."""
    world.ingest(services, world.drop(services, "drops/a", [made["SONG"], made["TUNE"]]))
    with services.session() as session:
        song = session.scalars(select(Version).where(Version.filename.like("SONG%"))).one()
        tune = session.scalars(select(Version).where(Version.filename.like("TUNE%"))).one()
        marks = session.scalars(select(FingerprintMark.mark).where(FingerprintMark.version_id == song.id)).all()
        # the tune has some of the song's marks, and came later: of each only one may be looked at
        session.add_all(FingerprintMark(mark=mark, version_id=tune.id) for mark in marks[:20])
    monkeypatch.setattr(near, "_NEWEST", 1)
    monkeypatch.setattr(near, "MOST", 1)
    world.ingest(services, world.drop(services, "drops/b", [made["SONG-MP3"]]))
    assert set(found(services)) == {frozenset(("SONG", "SONG-MP3"))}
