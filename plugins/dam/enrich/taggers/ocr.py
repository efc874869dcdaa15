"""The tagger that has lettering read by a program of your choice, and finds terms in what it reads."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dam.enrich.taggers import Failed, Options, Said, Tagger
from dam.enrich.taggers.pictures import preview
from dam.enrich.taggers.words import language_of, said_of_text

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy

_MOST = 1_000_000  # bytes of what is read


class OcrOptions(Options):
    """The program.

    :param command: it and its arguments; ``{file}`` stands for the picture's path. It prints what it reads (UTF-8).
    :param seconds: it may take so long.
    """

    command: list[str] = Field(min_length=1)
    seconds: float = Field(60, gt=0)


class Ocr(Tagger):
    """Terms in the lettering of a picture."""

    slow: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = OcrOptions

    @property
    def model(self) -> str:
        """The program's name."""
        return Path(self.options.command[0]).name

    @property
    def version(self) -> str:
        """Ours: the program's own is not asked."""
        return "1"

    def unready(self) -> str | None:
        """Return that the program is not there."""
        if shutil.which(self.options.command[0]) is None:
            return f"the program {self.options.command[0]!r} is not installed"
        return None

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterable[Said]:
        """Return terms, the surer the oftener their labels are read."""
        picture = preview(self.services, session, version)
        with tempfile.NamedTemporaryFile(suffix="." + picture.media_type.rpartition("/")[2]) as file:
            file.write(picture.data)
            file.flush()
            command = [part.replace("{file}", file.name) for part in self.options.command]
            try:
                done = subprocess.run(command, capture_output=True, timeout=self.options.seconds, check=False)
            except subprocess.TimeoutExpired:
                raise Failed(f"{self.model} took more than {self.options.seconds:g} seconds.", billed=False) from None
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
            raise Failed(f"{self.model} ended with {done.returncode}: {reason[0][:200]}", billed=False)
        return said_of_text(done.stdout[:_MOST].decode(errors="replace"), taxonomy, language_of(version))
