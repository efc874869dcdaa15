"""Where everything is: one frozen object, read from the environment outside Airflow and from Airflow
connections inside it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dam import PROJECT as PROJECT
from dam.errors import BadInput

SIGNING_KEY = PROJECT / ".dam" / "anchor.pem"


@dataclass(frozen=True, slots=True)
class Settings:
    """Every address the library needs.

    :param catalog_url: SQLAlchemy URL of the catalogue, ``postgresql+psycopg://…``.
    :param storage_url: a folder path, or ``s3://bucket/prefix``.
    :param storage_options: options of the S3 client (``endpoint_url``, ``aws_access_key_id``, …).
    :param include: the folder with ``taxonomy/`` and ``templates/``.
    :param origin_url: public base URL under which the origin store is served.
    :param access_log: path of the origin's access log (combined format).
    :param smtp_url: ``smtp://[user:password@]host:port``; empty: no mail is sent, which is logged.
    :param mail_from: sender of every mail.
    :param chat_url: incoming webhook of a chat room (Slack, Mattermost, Teams, …); empty: no chat. It is a secret.
    :param web_url: base URL people open, used in mails and reports.
    :param cms_url: base URL that ``{cms_url}`` stands for in channel templates.
    :param cms_token: bearer token for it.
    :param clamd: where ClamAV's daemon listens: ``unix:/path`` or ``tcp:host:port``; empty: nothing is scanned,
        which every version says of itself.
    :param signing_key: path of the Ed25519 private key (PEM) that signs audit anchors; made when missing. Its
        public half (``.pub``) beside it is enough to verify them.
    :param clock_may_run_ahead: lets a sweep whose ``today`` has not come act for real instead of rehearsing;
        for demos and tests only.
    """

    catalog_url: str
    storage_url: str
    storage_options: dict[str, str] | None = None
    include: Path = PROJECT / "include"
    origin_url: str = "http://127.0.0.1:8088"
    access_log: str = ""
    smtp_url: str = ""
    mail_from: str = "dam@localhost"
    chat_url: str = field(default="", repr=False)
    web_url: str = "http://127.0.0.1:8080"
    cms_url: str = ""
    cms_token: str = ""
    clamd: str = ""
    signing_key: Path = SIGNING_KEY
    clock_may_run_ahead: bool = False

    @classmethod
    def from_env(cls, known: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read ``DAM_*`` variables.

        :param known: settings that come from elsewhere and so need no variable.
        :param environ: where the variables are; the process's environment unless given.
        :raises BadInput: ``DAM_CATALOG_URL`` or ``DAM_STORAGE_URL`` is missing.
        """
        given = os.environ if environ is None else environ
        env = {key[4:].lower(): value for key, value in given.items() if key.startswith("DAM_")}
        for needed in ("catalog_url", "storage_url"):
            if known and known.get(needed):
                env.setdefault(needed, str(known[needed]))
            if not env.get(needed):
                raise BadInput(
                    "is not set",
                    where=f"environment variable DAM_{needed.upper()}",
                    remedy="Run `make up`, which writes .dam/env, and use ./dam, which reads it; or `source .dam/env`.",
                )
        plain: dict[str, Any] = {
            key: env[key]
            for key in (
                "catalog_url",
                "storage_url",
                "origin_url",
                "access_log",
                "smtp_url",
                "mail_from",
                "chat_url",
                "web_url",
                "cms_url",
                "cms_token",
                "clamd",
            )
            if env.get(key)
        }
        options = {
            name: env[f"s3_{name}"]
            for name in ("endpoint_url", "aws_access_key_id", "aws_secret_access_key", "region_name")
            if env.get(f"s3_{name}")
        }
        plain |= {key: Path(env[key]) for key in ("include", "signing_key") if env.get(key)}
        plain["clock_may_run_ahead"] = env.get("clock_may_run_ahead") == "1"
        return cls(**plain, storage_options=options or None)

    @classmethod
    def from_connections(cls, uri_of: Callable[[str], str | None]) -> Settings:
        """Read the environment, then let Airflow connections win over it.

        :param uri_of: returns the URI of a connection id, or None where there is none. ``dam_catalog``
            is a PostgreSQL connection; ``dam_storage`` either ``file:///folder`` or an AWS connection
            whose extra names ``bucket``, ``prefix`` and ``endpoint_url``. ``dam_chat`` has the webhook's
            address as its password, or is that address.
        """
        found: dict[str, Any] = {}
        if catalog := uri_of("dam_catalog"):
            found["catalog_url"] = catalog_url(catalog)
        if storage := uri_of("dam_storage"):
            found |= _storage_of(storage)
        if chat := uri_of("dam_chat"):
            found["chat_url"] = _webhook_of(chat)
        base = cls.from_env({"catalog_url": "", "storage_url": ""} | found)
        return replace(base, **found)


def catalog_url(uri: str) -> str:
    """Return the SQLAlchemy URL of a PostgreSQL connection URI, whatever driver it names."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", uri)


def _webhook_of(uri: str) -> str:
    """Return the address of a chat room's webhook: the connection's password, or the connection's own URI."""
    parts = urlsplit(uri)
    # an address as a URI keeps its slashes escaped
    return unquote(parts.password) if parts.password else uri.replace(parts.path, unquote(parts.path), 1)


def _storage_of(uri: str) -> dict[str, Any]:
    """Translate the URI of the ``dam_storage`` connection into settings."""
    parts = urlsplit(uri)
    if parts.scheme in ("file", ""):
        return {"storage_url": unquote(parts.path)}
    extra = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if packed := extra.pop("__extra__", None):
        extra |= json.loads(packed)
    if not extra.get("bucket"):
        raise BadInput(
            "the extra names no bucket",
            where="connection dam_storage",
            remedy='Add {"bucket": "…", "prefix": "…"} to its extra.',
        )
    options = {
        "aws_access_key_id": unquote(parts.username or ""),
        "aws_secret_access_key": unquote(parts.password or ""),
        "endpoint_url": str(extra.get("endpoint_url", "")),
        "region_name": str(extra.get("region_name", "")),
    }
    prefix = str(extra.get("prefix", "")).strip("/")
    return {
        "storage_url": f"s3://{extra['bucket']}" + (f"/{prefix}" if prefix else ""),
        "storage_options": {key: value for key, value in options.items() if value},
    }
