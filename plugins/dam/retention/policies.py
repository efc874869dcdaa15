"""How long things are kept: ``include/taxonomy/retention.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from dam.taxonomy.load import load

if TYPE_CHECKING:
    from dam.services import Services


class Policy(BaseModel):
    """One retention policy; ``state_before`` None fits every state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tier: Literal["cold", "quarantine"]
    state_before: str | None = None
    keep_days: int = Field(ge=0)
    why: str


class Policies(BaseModel):
    """All retention policies, the first that fits applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    withdrawn_grace_days: int = Field(ge=0)
    policies: list[Policy] = Field(min_length=1)

    def for_version(self, tier: str, state_before: str) -> Policy | None:
        """Return the policy for a version in a tier that had a state before; None: it is kept for ever."""
        for policy in self.policies:
            if policy.tier == tier and policy.state_before in (None, state_before):
                return policy
        return None


def policies(services: Services) -> Policies:
    """Read the policies. :raises BadInput: a fault, with file and line."""
    return load(services.settings.include / "taxonomy" / "retention.yaml", Policies)
