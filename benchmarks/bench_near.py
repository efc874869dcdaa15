"""Near-duplicates of films and sounds: milliseconds a file, looked up among many, one after the other as in a batch.

    python benchmarks/bench_near.py [--prints 20000] [--files 100]

Half of the library are films, half are sounds of two minutes. Of these, one in three ends with the same card, or
with the same jingle, so that all of them have marks in common. Looked up are films and sounds that nobody has, and
copies: two bits of every other frame differ and a fifth is cut away; a third of the items of sound differ. Told is
the whole of it: marks, candidates, comparison in full, and the new marks written. It is measured in a tenth of the
library, too, and set against comparing each file with every other one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import fresh
import numpy as np
import psycopg

from dam.ingest import near
from dam.ingest.media import chromaprint
from dam.services import Services

FRAMES, CUTS, ITEMS, COMMON = 240, 60, 948, 12
KINDS = ("film", "sound")


def film(seed: int) -> near.Fingerprints:
    """Return what a film of a minute is found by; its end is a card that many have."""
    frames = np.random.default_rng([1, seed]).integers(-(2**63), 2**63, FRAMES + CUTS, np.int64).tolist()
    card = [int(np.random.default_rng(0).integers(-(2**63), 2**63, dtype=np.int64))] * COMMON if seed % 3 == 0 else []
    return near.Fingerprints(frames[: FRAMES - len(card)] + card, 0.25, frames[FRAMES:] + card[:1])


def sound(seed: int) -> near.Fingerprints:
    """Return what a sound of two minutes is found by; its end is a jingle that many have."""
    items = np.random.default_rng([2, seed]).integers(0, 2**32, ITEMS, np.uint32)
    if seed % 3 == 0:
        items[-COMMON:] = np.random.default_rng(0).integers(0, 2**32, COMMON, np.uint32)
    return near.Fingerprints(chromaprint=chromaprint.encode(items))


def copied(prints: near.Fingerprints, seed: int) -> near.Fingerprints:
    """Return what a copy is found by."""
    chance = np.random.default_rng([3, seed])
    if prints.chromaprint:
        items = chromaprint.decode(prints.chromaprint)
        noise = np.uint32(1) << chance.integers(0, 32, len(items), np.uint32)
        return near.Fingerprints(chromaprint=chromaprint.encode(items ^ noise * (chance.random(len(items)) < 0.33)))

    def noisy(frames: list[int]) -> list[int]:
        flips = [int(1 << a | 1 << b) for a, b in chance.integers(0, 63, (len(frames), 2)).tolist()]
        return [frame ^ flip if at % 2 else frame for at, (frame, flip) in enumerate(zip(frames, flips, strict=True))]

    return near.Fingerprints(noisy([*prints.key_frames])[FRAMES // 5 :], 0.25, noisy([*prints.cuts])[CUTS // 5 :])


MAKE = {"film": film, "sound": sound}
COLUMNS = (
    "id, asset_id, number, batch_id, filename, sha256, bytes, media_type, storage_uri, tier, state, state_changed_at,"
    " fingerprints, technical, embedded, scan, made_by, created_at"
)


def fill(services: Services, first: int, last: int, real: int) -> None:
    """Put films and sounds into the catalogue, by turns.

    Those below ``real`` have their own fingerprints and marks, the others as many marks by chance, the common ones,
    and a fingerprint to read.
    """
    read = [kept(MAKE[KINDS[n % 2]](n // 2)) for n in range(100)]
    marks = [[near.marks(MAKE[kind](n)) for n in (0, 3)] for kind in KINDS]
    chance = np.random.default_rng(first)

    def marks_of(n: int) -> list[int]:
        if n < real:
            return near.marks(MAKE[KINDS[n % 2]](n // 2))
        some, others = marks[n % 2]
        common = {*some} & {*others} if n // 2 % 3 == 0 else ()
        return [*chance.integers(0, 2**60, len(some)).tolist(), *common]

    with psycopg.connect(services.settings.catalog_url.replace("+psycopg", "")) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers: only rows
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY versions ({COLUMNS}) FROM STDIN") as copy:
                for n in range(first, last):
                    own = kept(MAKE[KINDS[n % 2]](n // 2)) if n < real else read[n % 100]
                    copy.write_row(
                        (f"ver_{n:08}", f"ast_{n}", 1, "bat_bench", f"{n}.bin", f"{n:064x}", 5,
                         ("video/mp4", "audio/mpeg")[n % 2], f"vault:{n}", "hot", "ingested", "now", own,
                         '{"key_frame_seconds": 0.25}', "{}", "clean", "bench", "now")
                    )  # fmt: skip
            with cursor.copy("COPY fingerprint_marks (mark, version_id) FROM STDIN") as copy:
                for n in range(first, last):
                    for mark in marks_of(n):
                        copy.write_row((mark, f"ver_{n:08}"))
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def kept(prints: near.Fingerprints) -> str:
    """Return fingerprints as the catalogue keeps them."""
    told = {"key_frames": prints.key_frames, "cuts": prints.cuts, "chromaprint": prints.chromaprint}
    return json.dumps({name: value for name, value in told.items() if value})


def looked_up(services: Services, asked: list[near.Fingerprints]) -> tuple[float, list[list[str]]]:
    """Return the milliseconds of one look-up, marks written, and which versions were found by each."""
    found = []
    with services.session() as session:
        began = time.perf_counter()
        for prints in asked:
            mine = near.marks(prints)
            rows = near.alike_prints(session, prints, mine, asset_id="none", version_id="none")
            near.keep_marks(session, "ver_00000000", mine)
            found.append([version_id for version_id, _ in rows])
        seconds = time.perf_counter() - began
        session.rollback()
    return seconds / len(asked) * 1000, found


def measure(services: Services, files: int) -> dict[str, float]:
    """Return milliseconds a file, by what is looked up; copies must be found, and nothing else."""
    told = {}
    for kind, make in MAKE.items():
        new = [make(10**7 + n) for n in range(files)]
        told[f"new {kind}s"], found = looked_up(services, new)
        assert not any(found), f"new {kind}s are like {found}"
        copies = [copied(make(n), n) for n in range(files)]
        told[f"copies of {kind}s"], found = looked_up(services, copies)
        missed = sum(f"ver_{2 * n + KINDS.index(kind):08}" not in ids for n, ids in enumerate(found))
        assert missed == 0, f"{missed} of {files} copies of {kind}s were not found"
    return told


def one_by_one(make: Callable[[int], near.Fingerprints]) -> float:
    """Return the milliseconds of one comparison in full."""
    one, others, times = make(1), [make(n) for n in range(2, 22)], []
    for other in others:
        began = time.perf_counter()
        one.like(other)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prints", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=100)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # PostgreSQL is counted

    with tempfile.TemporaryDirectory(prefix="dam-bench-") as name:
        folder = Path(name)
        services = fresh.services(folder)
        tenth = max(given.prints // 10, 2 * given.files)
        fill(services, 0, tenth, 2 * given.files)
        few = measure(services, given.files)
        fill(services, tenth, given.prints, 2 * given.files)
        many = measure(services, given.files)
        print(f"{given.prints:,} films and sounds, {given.files} files of each kind looked up, one core")
        for what, milliseconds in many.items():
            print(f"{what:17} {milliseconds:6.2f} ms a file, {milliseconds / few[what]:.2f} x that among {tenth:,}")
        for kind, make in MAKE.items():
            every = one_by_one(make) * given.prints / 2
            print(f"comparing with every {kind}: {every / many[f'new {kind}s']:,.0f} x the look-up of a new one")
        services.engine.dispose()


if __name__ == "__main__":
    main()
