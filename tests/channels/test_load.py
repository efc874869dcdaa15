"""Channel templates: the ones we ship, and what is said of a wrong one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dam import channels
from dam.errors import BadInput
from dam.services import Services

WEB = "name: web\ntitle: Website\nkind: origin\nrecipes: [webp]\n"


def test_the_shipped_channels(services: Services):
    found = channels.load(services)
    assert {name: channel.kind for name, channel in found.items()} == {"web": "origin", "cms": "http_json"}
    assert found["web"].recipes[0] == "webp"


@pytest.mark.parametrize(
    "content, said",
    [
        ("name: [", "not valid YAML"),
        ("- web", "not a channel"),
        (WEB.replace("origin", "carrier_pigeon"), "carrier_pigeon"),
        (WEB.replace("[webp]", "[]"), "recipes"),
        (WEB.replace("name: web", "name: Our Web"), "name"),
        (WEB + "recipies: [avif]\n", "recipies"),
        (WEB.replace("origin", "http_json"), "publish: Field required"),
    ],
)
def test_a_wrong_template_names_file_and_field(services: Services, tmp_path: Path, content: str, said: str):
    folder = tmp_path / "include" / "templates" / "channels"
    folder.mkdir(parents=True)
    (folder / "wrong.yaml").write_text(content)
    with pytest.raises(BadInput, match=r"include/templates/channels/wrong\.yaml") as caught:
        channels.load(Services(replace(services.settings, include=tmp_path / "include")))
    assert said in str(caught.value)


def test_a_repeated_name_is_refused(services: Services, tmp_path: Path):
    folder = tmp_path / "include" / "templates" / "channels"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(WEB)
    with pytest.raises(BadInput, match=r"b\.yaml: repeats the channel name web"):
        channels.load(Services(replace(services.settings, include=tmp_path / "include")))
