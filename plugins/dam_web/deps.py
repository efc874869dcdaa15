"""Services of the web process."""

from __future__ import annotations

from functools import cache

from airflow.models.connection import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from dam.services import Services
from dam.settings import Settings


def _uri_of(connection_id: str) -> str | None:
    try:
        return str(Connection.get_connection_from_secrets(connection_id).get_uri())
    except AirflowNotFoundException:
        return None


@cache
def services() -> Services:
    """Return the process's services; connections ``dam_catalog`` and ``dam_storage`` win over ``DAM_*``."""
    return Services(Settings.from_connections(_uri_of))
