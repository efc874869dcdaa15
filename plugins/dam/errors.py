"""Errors that tell a person what is wrong, where, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass


class DamError(Exception):
    """Base of every error this library raises on purpose.

    :param what: what is wrong, one sentence.
    :param where: the place: a file with line, a field, an identifier. Empty where there is none.
    :param remedy: what to do next, one sentence.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(" ".join(part for part in (f"{where}:" if where else "", what, remedy) if part))


class NotFound(DamError):
    """Something was asked for by an identifier that the catalogue does not hold."""


class Refused(DamError):
    """A rule forbids what was asked: rights, separation of duties, a hold, a role."""


class BadInput(DamError):
    """What a person or a file gave is not usable as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in something a person filled in: the field, what is wrong, and how to mend it."""

    field: str
    problem: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Return the fault as a JSON-able dict."""
        return asdict(self)
