"""The first start of the production shape: what it refuses, and the passwords it makes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from dam.errors import BadInput
from dam.settings import PROJECT
from runtime.init import check_settings, first_passwords

GOOD = {"POSTGRES_PASSWORD": "a-Z0_9.~", "REDIS_PASSWORD": "x"}


def test_everybody_has_a_password_of_their_own_and_only_the_owner_reads_them(tmp_path):
    file = tmp_path / "keys" / "first-passwords.json"
    made = first_passwords(file, ["maya", "bea", "lena"])
    assert set(made) == {"maya", "bea", "lena"}
    assert len(set(made.values())) == 3
    assert min(map(len, made.values())) >= 16
    assert json.loads(file.read_text()) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_password_that_was_written_is_never_changed(tmp_path):
    file = tmp_path / "first-passwords.json"
    made = first_passwords(file, ["maya", "bea"])
    assert first_passwords(file, ["bea"]) == made
    more = first_passwords(file, ["bea", "nora"])
    assert more == made | {"nora": more["nora"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("password", ["", "p@ss", "a/b", "a:b", "a#b", "50%", "ü", "a b"])
def test_a_password_that_would_break_its_url_is_refused(name, password):
    check_settings(GOOD)
    with pytest.raises(BadInput, match=name):
        check_settings(GOOD | {name: password})


def test_the_service_says_so_without_a_traceback():
    environment = os.environ | GOOD | {"REDIS_PASSWORD": "p@ss", "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"}
    done = subprocess.run([sys.executable, "-m", "runtime.init"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("REDIS_PASSWORD in .env: is empty or has characters other than")
    assert "Traceback" not in done.stderr
