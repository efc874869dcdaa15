"""The one Airflow plugin: puts DAM into the navigation and mounts its pages and API under ``/dam``."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

import dam_operators.groups  # a dag-processor that loads plugins at its start has all operators then

if os.environ.get("DAM_PRELOAD"):
    import dam_operators.preload  # noqa: F401


class DamPlugin(AirflowPlugin):
    """DAM's pages and API."""

    name = "dam"
    external_views = [  # noqa: RUF012 - Airflow's own idiom
        {
            "name": "DAM",
            "href": "/dam/",
            "destination": "nav",
            "icon": "/dam/static/icon.svg",
            "icon_dark_mode": "/dam/static/icon-dark.svg",
            "nav_top_level": True,
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # read by the api-server only
        """The app, made when the api-server asks; the other components never do and load none of it."""
        from dam_web.app import make_app

        return [{"app": make_app(), "url_prefix": "/dam", "name": "DAM"}]
