"""Decoders run in a process of their own: it may crash, hang or eat memory, and the worker goes on."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

import world
from dam.ingest import sandbox
from dam.load import load
from dam.settings import PROJECT
from dam.taxonomy import Limits

LIMITS = load(PROJECT / "include" / "taxonomy" / "limits.yaml", Limits).model_dump()
RECIPES = PROJECT / "include" / "templates" / "recipes.yaml"
ROOMY = sandbox.Bounds(2_000_000_000, 60)


@pytest.fixture
def box():
    made = sandbox.Sandbox()
    yield made
    made.stop()


def look(box, path: Path, tmp_path: Path, bounds=ROOMY, **limits):
    return box.look(path, name=path.name, limits=LIMITS | limits, recipes=RECIPES, scratch=tmp_path, bounds=bounds)


def process(box) -> psutil.Process:
    return psutil.Process(box._process.pid)


def test_one_process_looks_at_many_files(box, tmp_path):
    files = [world.picture(tmp_path / "in", f"{n}.jpg", seed=n, size=(300, 200)) for n in range(3)]
    first = look(box, files[0], tmp_path)
    pid = process(box).pid
    assert first["told"]["width"] == 300
    for file in files[1:]:
        assert "told" in look(box, file, tmp_path)
    assert process(box).pid == pid


def test_a_decoder_that_crashes_refuses_its_file_and_no_other(box, tmp_path):
    good = world.picture(tmp_path / "in", "good.jpg", size=(300, 200))
    look(box, good, tmp_path)
    pipe = tmp_path / "endless.jpg"
    os.mkfifo(pipe)  # whoever opens it waits until it is killed
    victim = process(box)
    threading.Timer(0.5, lambda: victim.send_signal(11)).start()
    answer = look(box, pipe, tmp_path)
    assert answer["unusable"] == "The decoder crashed on it (SIGSEGV): it is damaged, or made to harm."
    assert "told" in look(box, good, tmp_path)


def test_a_decoder_that_hangs_is_ended(box, tmp_path):
    pipe = tmp_path / "endless.jpg"
    os.mkfifo(pipe)
    answer = look(box, pipe, tmp_path, sandbox.Bounds(2_000_000_000, 1.0))
    assert answer["unusable"] == "Opening it took longer than 1 seconds."
    assert "told" in look(box, world.picture(tmp_path / "in", "good.jpg", size=(300, 200)), tmp_path)


def test_a_file_that_needs_too_much_memory_is_refused(box, tmp_path):
    from PIL import Image

    greedy = tmp_path / "greedy.gif"
    Image.new("P", (30_000, 24_000)).save(greedy, "GIF")  # decoded at once: 720 million pixels of four bytes
    answer = look(box, greedy, tmp_path, sandbox.Bounds(1, 120), max_megapixels=1000)
    assert "memory" in answer["unusable"]
    modest = world.picture(tmp_path / "in", "good.jpg", size=(300, 200))
    assert "told" in look(box, modest, tmp_path, sandbox.Bounds(1, 120))


def test_it_ends_with_the_worker(box, tmp_path):
    look(box, world.picture(tmp_path / "in", "good.jpg", size=(300, 200)), tmp_path)
    child = process(box)
    box._socket.close()
    child.wait(10)
    assert not child.is_running()


def test_after_a_fork_the_child_has_one_of_its_own(tmp_path):
    file = world.picture(tmp_path / "in", "good.jpg", size=(300, 200))
    assert "told" in look(sandbox.shared(), file, tmp_path)
    mine = process(sandbox.shared()).pid
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = look(sandbox.shared(), file, tmp_path)
            told = f"{process(sandbox.shared()).pid} {'told' in answer}"
            sandbox.shared().stop()
            os.write(write, told.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs, ok = os.read(read, 100).decode().split()
    assert (ok, int(theirs) != mine) == ("True", True)
    assert "told" in look(sandbox.shared(), file, tmp_path)
    assert process(sandbox.shared()).pid == mine
