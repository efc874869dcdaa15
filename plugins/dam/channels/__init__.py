"""Channels as data: what ``include/templates/channels/*.yaml`` says of each place we publish to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dam.errors import BadInput
from dam.renditions import recipes

if TYPE_CHECKING:
    from dam.renditions.recipes import Recipe
    from dam.services import Services


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(_Strict):
    """How a campaign's dates bound a publication, on top of the licence's."""

    start_with_campaign: bool = True
    end_with_campaign: bool = False


class Request(_Strict):
    """One HTTP request with ``{placeholders}`` in its URL, headers and JSON body."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    url: str
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None


class _Channel(_Strict):
    name: str = Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$")
    title: str
    recipes: list[str] = Field(min_length=1)
    window: Window = Window()


class OriginChannel(_Channel):
    """Renditions served as files by our own origin."""

    kind: Literal["origin"]


class JsonChannel(_Channel):
    """A system with a JSON-over-HTTP API that makes an entry and answers its identifier and URL."""

    kind: Literal["http_json"]
    publish: Request
    id_pointer: str = Field(pattern=r"^(/[^/]+)+$")
    url_pointer: str = Field(pattern=r"^(/[^/]+)+$")
    withdraw: Request


Channel = Annotated[OriginChannel | JsonChannel, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[OriginChannel | JsonChannel] = TypeAdapter(Channel)


def load(services: Services) -> dict[str, OriginChannel | JsonChannel]:
    """Read every channel template, by name.

    :raises BadInput: a file is not YAML, does not follow the schema, or repeats a name.
    """
    channels: dict[str, OriginChannel | JsonChannel] = {}
    for path in sorted((services.settings.include / "templates" / "channels").glob("*.yaml")):
        where = f"include/templates/channels/{path.name}"
        try:
            channel = _ADAPTER.validate_python(yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader))
        except yaml.YAMLError as error:
            raise BadInput(
                f"is not valid YAML: {error}.", where=where, remedy="Mend the file; web.yaml is an example."
            ) from error
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc'][1:]) or 'kind'}: {fault['msg']}"
                for fault in error.errors()
            )
            raise BadInput(
                f"is not a channel: {faults}.",
                where=where,
                remedy="Mend these fields; see web.yaml, cms.yaml.",
            ) from error
        if channel.name in channels:
            raise BadInput(
                f"repeats the channel name {channel.name}.", where=where, remedy="Give it a name of its own."
            )
        channels[channel.name] = channel
    return channels


def recipes_of(services: Services) -> dict[str, list[Recipe]]:
    """Return by channel what its renditions are made by, which the rights policy must know.

    A recipe that there is not is left out here; delivering says so.

    :raises BadInput: a template or the recipes are wrong.
    """
    known = recipes.load(services)
    return {
        name: [known[recipe] for recipe in channel.recipes if recipe in known]
        for name, channel in load(services).items()
    }
