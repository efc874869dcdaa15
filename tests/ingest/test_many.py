"""Ten thousand files, one in twenty of them bad, and workers that are killed: nothing is lost, nothing doubled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from binascii import crc32
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

import samples
from dam import audit
from dam.catalog.models import Asset, BatchFile, Version, VersionState
from dam.settings import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FILES, BAD = int(os.environ.get("N", 10_000)), int(os.environ.get("N", 10_000)) // 20
SEED = 20261125


def good(number: int) -> tuple[str, bytes]:
    """Return name and bytes of a file that is right, unlike every other."""
    name = f"P{number:05d}_ACME_20270301_v01"
    if number % 20 == 3:
        shape = f'<circle cx="{number % 97}" cy="50" r="{number % 41 + 3}" fill="#{number:06x}"/>'
        return f"{name}.svg", f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{shape}</svg>'.encode()
    out = io.BytesIO()
    kind = "PNG" if number % 20 == 7 else "JPEG"
    samples.photo(seed=number).save(out, kind)
    return f"{name}.{'png' if kind == 'PNG' else 'jpg'}", out.getvalue()


def _cut_off(number: int) -> bytes:
    whole = good(20 * number)[1]  # a JPEG
    return whole[: len(whole) * 2 // 3]


def _two_things(number: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{number}.txt", "hidden")
    return good(20 * number)[1] + packed.getvalue()


def _absurd(number: int) -> bytes:
    """A PNG whose header claims billions of pixels."""
    whole = bytearray(good(20 * number + 7)[1])
    whole[16:24] = (60_000 + number).to_bytes(4, "big") + (60_000).to_bytes(4, "big")
    whole[29:33] = crc32(whole[12:29]).to_bytes(4, "big")
    return bytes(whole)


_PROGRAM = Path(sys.executable).resolve().read_bytes()[:20_000]
#: What is wrong with a bad file, its extension, and what a person is told of it.
FAULTS = {
    "cut off": ("jpg", _cut_off, "quarantined", "cut off or damaged"),
    "two things": ("jpg", _two_things, "quarantined", "two things at once"),
    "absurd": ("png", _absurd, "quarantined", r"claims to be 6\d{4} × 60000 pixels"),
    "a program": ("jpg", lambda n: _PROGRAM + n.to_bytes(4, "big"), "quarantined", "It is a program"),
    "changed": ("jpg", lambda n: good(20 * n)[1] + b"\0" * (n + 1), "quarantined", "not what the sender promised"),
    "unknown": ("xyz", lambda n: b"\x01\x02QQ" + n.to_bytes(64, "little"), "opaque", "The format is not known here"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files as they were sent: nested folders, a digest beside those that change on their way."""
    root = tmp_path_factory.mktemp("many")
    made = root / "sent"
    kinds = list(FAULTS)
    for number in range(FILES):
        place = made / f"card-{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        if number < BAD:
            extension, make, _, _ = FAULTS[kinds[number % len(kinds)]]
            path = place / f"B{number:05d}_ACME_20270301_v01.{extension}"
            path.write_bytes(make(number + 1))
            if kinds[number % len(kinds)] == "changed":
                was = hashlib.sha256(good(20 * (number + 1))[1]).hexdigest()
                path.with_name(path.name + ".sha256").write_text(f"{was}  {path.name}\n")
        else:
            name, data = good(number)
            (place / name).write_bytes(data)
    return made


def start(services, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ``dam ingest`` as a process group of its own."""
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT / "plugins"),
        "DAM_CATALOG_URL": services.settings.catalog_url,
        "DAM_STORAGE_URL": services.settings.storage_url,
        "DAM_SIGNING_KEY": str(services.settings.signing_key),
    }
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "dam.cli", "ingest", str(folder), "--json", "--sent-by", "north"],
            env=environment, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip


def done(services) -> int:
    with services.session() as session:
        return session.scalar(select(func.count()).where(BatchFile.outcome != "pending")) or 0


def test_every_good_file_is_in_and_every_bad_one_explained_whoever_is_killed(services, folder, tmp_path):
    chance = random.Random(SEED)
    for kill in range(4):  # two workers at one batch, killed at any moment
        workers = [start(services, folder, tmp_path / f"{kill}-{n}.log") for n in range(2)]
        goal = done(services) + chance.randrange(FILES // 50, FILES // 6)
        end = time.monotonic() + 300
        while kill and done(services) < goal and time.monotonic() < end and all(w.poll() is None for w in workers):
            time.sleep(0.02)
        time.sleep(chance.random() * 0.2 if kill else 3.0)  # the first blow falls while they are copied
        assert all(worker.poll() is None for worker in workers), (tmp_path / f"{kill}-0.err").read_text()[-2000:]
        for worker in workers:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    workers = [start(services, folder, tmp_path / f"last-{n}.log") for n in range(2)]
    assert [worker.wait(1200) for worker in workers] == [0, 0], (tmp_path / "last-0.err").read_text()[-2000:]

    told = {}
    for line in (tmp_path / "last-1.log").read_text().splitlines():
        row = json.loads(line)
        told[row["path"].rsplit("/", 1)[-1]] = row
    told = {name: row for name, row in told.items() if not name.endswith(".sha256")}
    assert len(told) == FILES
    wrong = [row for name, row in told.items() if name.startswith("P") and row["outcome"] != "ingested"]
    assert not wrong, wrong[:3]
    kinds = list(FAULTS)
    for name, row in told.items():
        if name.startswith("B"):
            _, _, outcome, reason = FAULTS[kinds[int(name[1:6]) % len(kinds)]]
            assert row["outcome"] == outcome, row
            assert re.search(reason, row["reason"]), row

    with services.session() as session:
        states = dict(session.execute(select(Version.state, func.count()).group_by(Version.state)).all())
        assert states == {VersionState.INGESTED: FILES - BAD, VersionState.QUARANTINED: BAD}
        assert session.scalar(select(func.count()).select_from(Asset)) == FILES - BAD
        assert session.scalar(select(func.count(Version.sha256.distinct()))) == FILES
        kept = session.scalars(select(Version.storage_uri).where(Version.state == VersionState.INGESTED)).all()
    for uri in chance.sample(list(kept), 500):
        store, key = services.storage.resolve(uri)
        assert store.digest(key) == key.rsplit("/", 1)[-1]
    assert sum(1 for _ in services.storage.vault.list()) == FILES - BAD  # no half of a file, no second copy
    assert audit.verify(services).ok

    before = counted(services)
    again = start(services, folder, tmp_path / "again.log")
    assert again.wait(600) == 0
    assert (tmp_path / "again.log").read_bytes() == (tmp_path / "last-1.log").read_bytes()
    assert counted(services) == before


def counted(services) -> Counter[str]:
    """Return how many rows each table has."""
    with services.session() as session:
        names = session.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        ).all()
        return Counter({name: session.scalar(text(f"SELECT count(*) FROM {name}")) for name in names})
