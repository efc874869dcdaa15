"""How long things are kept: ``include/taxonomy/retention.yaml``."""

from __future__ import annotations

from datetime import date, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from dam.catalog.models import VersionState
from dam.load import load
from dam.rights.policy import day

if TYPE_CHECKING:
    from typing import Self

    from dam.services import Services


class Policy(BaseModel):
    """One retention policy; ``kinds``, ``campaigns`` and ``states`` None fit everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tier: Literal["cold", "quarantine"]
    kinds: list[str] | None = None
    campaigns: list[str] | None = None
    states: list[VersionState] | None = None
    keep_years: NonNegativeInt | None = Field(default=None, le=1000)
    keep_days: NonNegativeInt | None = Field(default=None, le=365_000)
    why: str

    @model_validator(mode="after")
    def _one_period(self) -> Self:
        if (self.keep_years is None) == (self.keep_days is None):
            raise ValueError("give keep_years or keep_days, one of them")
        return self

    def fits(self, *, tier: str, kind: str | None, campaign: str | None, state: str) -> bool:
        """Return whether the policy is for such a version.

        :param kind: of its asset. :param campaign: slug. :param state: what it was before it was archived.
        """
        return (
            self.tier == tier
            and (self.kinds is None or kind in self.kinds)
            and (self.campaigns is None or any(fnmatchcase(campaign or "", slug) for slug in self.campaigns))
            and (self.states is None or state in self.states)
        )

    def until(self, since: date) -> date:
        """Return the first day on which a version kept since a day may go."""
        if self.keep_days is not None:
            return since + timedelta(days=self.keep_days)
        year = since.year + (self.keep_years or 0)
        try:
            return since.replace(year=year)
        except ValueError:  # 29 February: never a day too early
            return date(year, 3, 1)

    def explain(self, since: date) -> str:
        """Return the policy as a sentence about a version kept since a day."""
        count, unit = (self.keep_years, "year") if self.keep_days is None else (self.keep_days, "day")
        period = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
        return f"{self.name}: kept {period} from {day(since)}, until {day(self.until(since))}; {self.why}"


class Policies(BaseModel):
    """All retention policies, the first that fits applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace_days: dict[VersionState, NonNegativeInt] = {}
    policies: list[Policy] = Field(min_length=1)

    def policy(self, *, tier: str, kind: str | None, campaign: str | None, state: str) -> Policy | None:
        """Return the policy that applies to such a version; None: it is kept for ever."""
        fitting = (rule for rule in self.policies if rule.fits(tier=tier, kind=kind, campaign=campaign, state=state))
        return next(fitting, None)


def policies(services: Services) -> Policies:
    """Read the policies. :raises BadInput: a fault, with file and line."""
    return load(services.settings.include / "taxonomy" / "retention.yaml", Policies)
