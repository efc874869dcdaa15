"""Services for task code, made once a process from Airflow connections and ``DAM_*`` variables."""

from __future__ import annotations

from functools import cache

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from dam.services import Services
from dam.settings import Settings


def _uri_of(connection_id: str) -> str | None:
    try:
        return str(BaseHook.get_connection(connection_id).get_uri())
    except AirflowNotFoundException:
        return None


@cache
def get_services() -> Services:
    """Return this process's services; connections ``dam_catalog`` and ``dam_storage`` win over ``DAM_*``."""
    return Services(Settings.from_connections(_uri_of))
