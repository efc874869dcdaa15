"""Video at the gate in one pass against a process of ffmpeg for everything that comes out of it.

    python benchmarks/bench_av.py [--seconds 30] [--rounds 3] [--file FILM]

Both make a poster, a proxy, a storyboard, a waveform and an acoustic fingerprint of the same film of 1080p, on one
thread each, in turns; compared are the medians of CPU and wall time. Ours also proves every frame, measures the
loudness, hashes key frames and reads the metadata, for which ``ffmpeg`` needs processes more: a second row counts
them too. Without ``ffmpeg`` and ``fpcalc`` on this machine nothing is compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

import av
import numpy as np

from dam.ingest import look
from dam.ingest.inspection import Job
from dam.load import load
from dam.settings import PROJECT
from dam.taxonomy import Limits

WIDTH, HEIGHT, RATE, SOUND = 1920, 1080, 25, 48_000


def make_film(path: Path, seconds: int) -> Path:
    """Write a film of soft moving shapes with grain, a new scene every three seconds, and a melody."""
    chance = np.random.default_rng(1)
    grain = chance.integers(-12, 12, (HEIGHT * 2, WIDTH), np.int16)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "21"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        heard = out.add_stream("aac", rate=SOUND, layout="stereo")
        for number in range(seconds * RATE):
            scene, at = divmod(number, 3 * RATE)
            coarse = np.random.default_rng(scene).integers(30, 226, (9, 16, 3), np.uint8)
            soft = av.VideoFrame.from_ndarray(coarse).reformat(WIDTH * 5 // 4, HEIGHT * 5 // 4, "rgb24").to_ndarray()
            part = soft[at * 3 : at * 3 + HEIGHT, at * 5 : at * 5 + WIDTH].astype(np.int16)
            part += grain[number * 37 % HEIGHT :][:HEIGHT, :, None]
            out.mux(picture.encode(av.VideoFrame.from_ndarray(part.clip(0, 255).astype(np.uint8))))
            moments = np.arange(SOUND // RATE) / SOUND
            pitch = 220 * 2 ** (number // 6 * 7 % 24 / 12)
            wave = (np.sin(2 * np.pi * pitch * (moments + number / RATE)) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SOUND, number * len(moments), Fraction(1, SOUND)
            out.mux(heard.encode(frame))
        out.mux(picture.encode(None))
        out.mux(heard.encode(None))
    return path


def ours(film: Path, folder: Path) -> None:
    """Take the film through the look that the gate has of it."""
    limits = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
    answer = look.look(Job(film, film.name, folder, limits, PROJECT / "include" / "templates" / "recipes.yaml"))
    names = {proof["name"] for proof in answer["told"]["proofs"]}
    assert {"poster", "proxy", "storyboard", "waveform"} <= names
    assert answer["told"]["chromaprint"]


def theirs(film: Path, folder: Path, seconds: float) -> list[list[str]]:
    """Return the commands that make the same; the first five are what people look at and compare."""
    read = ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-i", str(film)]
    one = ["-threads", "1", "-filter_threads", "1"]
    encoded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-g", "50", "-c:a", "aac", "-b:a", "96k"]
    tiles = f"fps={25 / seconds},scale=240:-2,tile=5x5"
    return [
        ["ffmpeg", "-v", "error", "-y", "-threads", "1", "-ss", "1", "-i", str(film), "-frames:v", "1", *one,
         str(folder / "poster.jpg")],
        [*read, "-vf", "scale=640:-2", *encoded, "-ac", "2", *one, "-movflags", "+faststart",
         str(folder / "proxy.mp4")],
        [*read, "-vf", tiles, "-frames:v", "1", *one, str(folder / "storyboard.jpg")],
        [*read, "-filter_complex", "showwavespic=s=1800x280", "-frames:v", "1", *one, str(folder / "waveform.png")],
        ["fpcalc", str(film)],
        [*read, *one, "-map", "0", "-f", "null", "-"],
        [*read, "-vn", "-af", "ebur128", "-f", "null", "-"],
        ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(film)],
    ]  # fmt: skip


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Return CPU and wall seconds of some work, its child processes counted in."""

    def used() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    cpu, wall = used(), time.perf_counter()
    work()
    return used() - cpu, time.perf_counter() - wall


def run(commands: list[list[str]]) -> None:
    for command in commands:
        # fpcalc takes the end of a short file for an error and prints its fingerprint all the same
        subprocess.run(command, check=command[0] != "fpcalc", capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--file", type=Path, help="a film of your own")
    given = parser.parse_args()
    if missing := [name for name in ("ffmpeg", "ffprobe", "fpcalc") if not shutil.which(name)]:
        raise SystemExit(f"{', '.join(missing)} not found: there is nothing to compare with; install it and run again.")
    with tempfile.TemporaryDirectory(prefix="bench-av-") as place:
        folder = Path(place)
        film = given.file or make_film(folder / "film.mp4", given.seconds)
        with av.open(str(film)) as opened:
            seconds = (opened.duration or 0) / 1e6
        commands = theirs(film, folder, seconds)
        ours(film, folder)  # imports and caches
        rows: dict[str, list[tuple[float, float]]] = {"one pass": [], "five processes": [], "eight processes": []}
        for _ in range(given.rounds):
            rows["one pass"].append(measured(lambda: ours(film, folder)))
            rows["five processes"].append(measured(lambda: run(commands[:5])))
            rows["eight processes"].append(measured(lambda: run(commands)))
        print(f"{film.name}, {seconds:.1f} s, {film.stat().st_size / 1e6:.1f} MB, medians of {given.rounds} rounds")
        base = [statistics.median(times) for times in zip(*rows["one pass"], strict=True)]
        for name, found in rows.items():
            cpu, wall = (statistics.median(times) for times in zip(*found, strict=True))
            told = f"{cpu / base[0]:.2f} × CPU, {wall / base[1]:.2f} × wall"
            print(f"{name:16} {cpu:7.2f} s CPU {wall:7.2f} s wall   {told}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"memory of the one pass: {peak:,.0f} MB at most")


if __name__ == "__main__":
    main()
