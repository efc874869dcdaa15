"""Deep zoom: cutting a picture into tiles, and keeping them as one archive or as a file each.

    python benchmarks/bench_tiles.py [--megapixels 24 100]

Needs no catalogue. Prints for each size what cutting costs, and for a folder and an S3 server on this machine what
it costs to put all tiles, to read one, and to delete all.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from dam.renditions import tiles
from dam.renditions.keeping import Kept
from dam.services import Services
from dam.settings import Settings

#: Tiles that are read to see what one costs.
READ = 100


def photograph(path: Path, megapixels: float) -> None:
    """Save a picture of soft shapes with grain, as photographs have, 3 to 2."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(height * 1.5)
    coarse = np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    soft = pyvips.Image.new_from_array(coarse).resize(width / 90, vscale=height / 60)
    grained = soft + pyvips.Image.gaussnoise(soft.width, soft.height, sigma=6)
    grained.cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=92)


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def storages(folder: Path) -> Iterator[dict[str, Services]]:
    """Give a folder and an S3 server over HTTP."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"aws_access_key_id": "t", "aws_secret_access_key": "t", "region_name": "us-east-1"}
    options["endpoint_url"] = f"http://{host}:{port}"
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", **options).create_bucket(Bucket=bucket)
    stores = {"folder": Settings("", str(folder / "stores")), "S3": Settings("", f"s3://{bucket}/dam", options)}
    yield {name: Services(settings) for name, settings in stores.items()}
    server.stop()


def measure(name: str, services: Services, archive: Path, shape: tuple[int, int]) -> str:
    store = services.storage.renditions
    stored = store.put("a.zip", archive)
    put = seconds(lambda: store.put("a.zip", archive))
    made = Kept(*shape, stored.uri, stored.sha256, stored.bytes)

    def read(number: int) -> bytes:
        return tiles.tile(services, made=made, level=12, column=number % 8, row=number // 8 % 8)

    first = seconds(lambda: read(0))
    each = seconds(lambda: [read(number) for number in range(READ)]) / READ
    gone = seconds(lambda: store.delete("a.zip"))
    with zipfile.ZipFile(archive) as source:
        names = source.namelist()
        data = {tile: source.read(tile) for tile in names}
    apart = seconds(lambda: [store.put(tile, data[tile]) for tile in names])
    alone = seconds(lambda: [store.read(f"tiles_files/12/{n % 8}_{n // 8 % 8}.jpg") for n in range(READ)]) / READ
    swept = seconds(lambda: [store.delete(tile) for tile in names])
    return (
        f"  {name:6}  archive: put {put:6.2f} s, first tile {first * 1e3:6.1f} ms, tile {each * 1e3:5.2f} ms,"
        f" delete {gone:5.2f} s\n"
        f"  {'':6}  files:   put {apart:6.2f} s, {'':21} tile {alone * 1e3:5.2f} ms, delete {swept:5.2f} s\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[24, 100])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, storages(Path(place)) as kept:
        source, archive = Path(place) / "source.jpg", Path(place) / "tiles.zip"
        for megapixels in given.megapixels:
            photograph(source, megapixels)
            told: dict[str, Any] = {}
            took = seconds(lambda to=told: to.update(tiles.cut(source, archive, most_megapixels=1000)))
            with zipfile.ZipFile(archive) as opened:
                count = len(opened.namelist())
            sys.stdout.write(
                f"{megapixels:g} megapixels, {source.stat().st_size / 1e6:.1f} MB: {count:,} tiles,"
                f" {archive.stat().st_size / 1e6:.1f} MB, cut in {took:.2f} s ({megapixels / took:.0f} MP/s)\n"
            )
            for name, services in kept.items():
                sys.stdout.write(measure(name, services, archive, (told["width"], told["height"])))


if __name__ == "__main__":
    main()
