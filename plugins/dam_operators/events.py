"""The Airflow Assets that join the stages. Each event carries one key, and one key makes one run."""

from __future__ import annotations

from airflow.sdk import Asset, AssetWatcher

from dam_operators.triggers import InboxTrigger

#: A brief was signed; key: brief id.
BRIEF_SIGNED = Asset("dam_brief_signed", uri="dam://brief/signed")
#: A review asked for changes; key: package id.
CHANGES_REQUESTED = Asset("dam_changes_requested", uri="dam://package/changes-requested")
#: Files landed and are complete; key: batch id.
BATCH_READY = Asset("dam_batch_ready", uri="dam://batch/ready")
#: Versions were frozen for review; key: package id.
PACKAGE_READY = Asset("dam_package_ready", uri="dam://package/ready")
#: A review approved versions; key: package id.
PACKAGE_APPROVED = Asset("dam_package_approved", uri="dam://package/approved")
#: Something in the inbox is complete and not registered yet (watched by the triggerer).
INBOX = Asset("dam_inbox", uri="dam://inbox", watchers=[AssetWatcher("dam_inbox", trigger=InboxTrigger())])


def drop(name: str) -> Asset:
    """Return the event of a complete drop below ``drops/<name>/`` in the inbox; key: batch id.

    A workflow of your own listens to it; name the drop under ``drops`` in ``workflow.yaml``.
    """
    return Asset(f"dam_drop_{name}", uri=f"dam://drop/{name}")
