"""Services for task code, made once a process from Airflow connections and ``DAM_*`` variables."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

if TYPE_CHECKING:
    from dam.services import Services


def _uri_of(connection_id: str) -> str | None:
    try:
        return str(BaseHook.get_connection(connection_id).get_uri())
    except AirflowNotFoundException:
        return None


def _aws(service: str) -> Any:
    """Return a client through the connection ``dam_<service>``, else ``aws_default``, else the usual AWS places."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from botocore.config import Config

    connection = next((name for name in (f"dam_{service}", "aws_default") if _uri_of(name)), None)
    # whoever asks decides what is asked again: an answer that got lost may have been billed
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    return AwsBaseHook(aws_conn_id=connection, client_type=service, config=config).get_conn()


@cache
def get_services() -> Services:
    """Return this process's services; connections ``dam_catalog`` and ``dam_storage`` win over ``DAM_*``."""
    from dam.services import Services
    from dam.settings import Settings

    return Services(Settings.from_connections(_uri_of), aws=_aws)
