"""Compiles ``requirements.txt`` from ``pyproject.toml``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dam.errors import DamError
from dam.settings import PROJECT

COMMAND = "make lock"


def compile_lock(target: Path = PROJECT / "requirements.txt") -> Path:
    """Write the lock for all supported Pythons and return its path; pins that still fit are kept.

    :raises DamError: uv is missing, or nothing satisfies ``pyproject.toml``.
    """
    uv = shutil.which("uv") or str(PROJECT / ".dam" / "uv" / "bin" / "uv")
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--all-extras",
         "--custom-compile-command", COMMAND, "pyproject.toml", "--output-file", str(target)],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise DamError(done.stderr.strip(), where="pyproject.toml", remedy="Mend it, then make lock again.")
    return target
