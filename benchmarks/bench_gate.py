"""The whole gate, with thumbnail and preview, on one core: against a shell loop, and in a full catalogue.

    python benchmarks/bench_gate.py [--assets 1000000] [--rounds 3]

1. The gate against what a careful person would write in a shell: sha256sum, vipsthumbnail for preview and
   thumbnail, exiftool (one process, -stay_open) on the same photographs of 12 to 24 megapixels. Each preview is
   asked of vipsthumbnail in the size that the gate makes of this photograph. The gate also
   decodes in full, finds duplicates, maps metadata, tags, and writes catalogue, vault and audit trail.
   PostgreSQL and the decoding process run on the same core and are counted. Median of the rounds.
2. The same gate in a catalogue of ``--assets`` assets, against an empty one.
3. Near-duplicates: seconds a file, looked up in that catalogue, in one batch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import fresh
from sqlalchemy import func, select, text

from dam.catalog.models import Batch, Rendition, Version
from dam.demo import photos
from dam.ingest import batches, gate, near
from dam.services import Services

LOOP = """
while read -r size file; do
    sha256sum "$file" > /dev/null
    vipsthumbnail "$file" --size "$size" -o "$OUT/%s-preview.jpg[Q=82]"
    vipsthumbnail "$file" --size 256 -o "$OUT/%s-thumbnail.jpg[Q=80]"
    printf '%s\\n' -json -G "$file" -execute >> "$OUT/arguments"
done < "$OUT/files"
printf '%s\\n' -stay_open False >> "$OUT/arguments"
exiftool -stay_open True -@ "$OUT/arguments" > "$OUT/metadata.json"
"""


def loop(previews: dict[Path, int], folder: Path) -> float:
    """Return the seconds of the shell loop, for files and their previews' longer sides."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "files").write_text("".join(f"{size} {file}\n" for file, size in previews.items()))
    began = time.perf_counter()
    subprocess.run(["bash", "-c", LOOP], env=os.environ | {"OUT": str(folder)}, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def preview_sizes(services: Services, files: list[Path]) -> dict[Path, int]:
    """Return the longer side of the preview that the gate made of each file."""
    with services.session() as session:
        rows = session.execute(
            select(Version.filename, func.greatest(Rendition.width, Rendition.height))
            .join(Rendition, Rendition.version_id == Version.id)
            .where(Rendition.recipe == "preview")
        )
        sizes = dict(rows.all())
    return {file: sizes[file.name] for file in files}


def through_gate(services: Services, files: list[Path], name: str) -> float:
    """Return the seconds of the gate for fresh copies of these files, the batch's plan and end left out."""
    for file in files:
        # other bytes, same picture: a comment behind the start of the image
        whole = file.read_bytes()
        mark = name.encode().ljust(32)
        services.storage.inbox.put(
            f"drops/{name}/{file.name}", whole[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark + whole[2:]
        )
    batch_id = batches.register(services, location=f"drops/{name}", source="inbox", sent_by="bench")
    [*chunks] = batches.plan_chunks(services, batch_id=batch_id)
    began = time.perf_counter()
    counts = [gate.ingest_chunk(services, batch_id=batch_id, file_ids=chunk) for chunk in chunks]
    seconds = time.perf_counter() - began
    told = {name: sum(count.get(name, 0) for count in counts) for count in counts for name in count}
    assert sum(told.values()) == told.get("ingested", 0) + told.get("new_version", 0) == len(files), told
    return seconds


def fill(services: Services, assets: int) -> None:
    """Put assets into the catalogue, each with a version, a description, tags' worth of rows left out."""
    with services.session() as session:
        session.add(Batch(id="bat_bench", source="cli", location="drops/filled", sent_by="bench", status="done"))
    with services.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers: only rows
        for statement in (
            "INSERT INTO assets (id, name, kind, created_at)"
            " SELECT 'ast_' || n, 'FILLED-' || n || '_ACME', 'image', now() FROM generate_series(1, :n) n",
            "INSERT INTO versions (id, asset_id, number, batch_id, filename, sha256, bytes, media_type, storage_uri,"
            " tier, state, state_changed_at, width, height, pixel_hash, phash, fingerprints, technical, embedded,"
            " scan, made_by, created_at)"
            " SELECT 'ver_' || n, 'ast_' || n, 1, 'bat_bench', 'FILLED-' || n || '_ACME_20270301_v01.jpg',"
            " encode(sha256(n::text::bytea), 'hex'), 5000000, 'image/jpeg', 'vault:' || n, 'hot', 'ingested', now(),"
            " 6000, 4000, md5(n::text), ('x' || md5('p' || n))::bit(64)::bigint, '{}', '{}', '{}', 'clean', 'bench',"
            " now()"
            " FROM generate_series(1, :n) n",
            "INSERT INTO descriptions (version_id, title, description, custom, updated_by, updated_at)"
            " SELECT 'ver_' || n, 'Picture ' || n, 'One of many ' || (n % 977), '{}', 'bench', now()"
            " FROM generate_series(1, :n) n",
        ):
            connection.execute(text(statement), {"n": assets})
    with services.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def look_up(services: Services, count: int) -> float:
    """Return the seconds a file of looking up near-duplicates, in one batch."""
    with services.session() as session:
        hashes = session.execute(
            text("SELECT id, asset_id, phash FROM versions WHERE id LIKE 'ver\\_%' LIMIT :n"), {"n": count}
        ).all()
        began = time.perf_counter()
        for row in hashes:
            near.near_duplicates(session, phash=row.phash ^ 5, asset_id="none", version_id=row.id, bits=6)
        return (time.perf_counter() - began) / len(hashes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--assets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # whatever is started from here inherits it

    with tempfile.TemporaryDirectory(prefix="dam-bench-") as name:
        folder = Path(name)
        made = photos.make(folder / "photos", today=date.today())
        files = [path for path in made.good if path.suffix == ".jpg"]
        services = fresh.services(folder)
        through_gate(services, files, "warm-up")
        previews = preview_sizes(services, files)
        tools = all(shutil.which(tool) for tool in ("vipsthumbnail", "exiftool"))
        shell, ours = [], []
        for number in range(given.rounds):
            if tools:
                shell.append(loop(previews, folder / "loop"))
            ours.append(through_gate(services, files, f"round-{number}"))
        print(f"{len(files)} photographs, one core")
        print(f"gate                 {len(files) / statistics.median(ours):6.2f} files/s")
        if tools:
            ratios = [theirs / mine for theirs, mine in zip(shell, ours, strict=True)]
            print(f"shell loop           {len(files) / statistics.median(shell):6.2f} files/s")
            print(f"gate / shell loop    {statistics.median(ratios):6.2f} x   ({min(ratios):.2f} to {max(ratios):.2f})")
        else:
            print("shell loop           not measured: apt install libvips-tools libimage-exiftool-perl")
        if given.assets:
            fill(services, given.assets)
            full = [through_gate(services, files, f"full-{number}") for number in range(given.rounds)]
            slower = statistics.median(full) / statistics.median(ours)
            print(f"with {given.assets:,} assets more: {slower:.2f} x the time")
            print(f"near-duplicates: {look_up(services, 200) * 1000:.2f} ms a file")
        services.engine.dispose()


if __name__ == "__main__":
    main()
