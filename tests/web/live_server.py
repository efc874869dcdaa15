"""A process of its own that serves the app over the catalogue of ``DAM_CATALOG_URL``, mounted as Airflow mounts it.

``python live_server.py <port>``; the log-ins and ``PYTHONPATH`` are in its environment.
"""

from __future__ import annotations

import sys

import uvicorn


def make_app():
    from airflow.api_fastapi.app import create_auth_manager
    from fastapi import FastAPI
    from fastapi.middleware.gzip import GZipMiddleware

    create_auth_manager().init()
    from dam_web import live
    from dam_web.app import make_app as dam

    live.HEARTBEAT = 0.3
    app = FastAPI()
    app.mount("/dam", dam())
    app.add_middleware(GZipMiddleware, minimum_size=1024)  # Airflow's; it must not hold events back
    return app


if __name__ == "__main__":
    uvicorn.run(make_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
