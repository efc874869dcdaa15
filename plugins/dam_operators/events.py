"""The Airflow Assets that join the stages. Each event carries one key, and one key makes one run.

Their addresses begin with ``x-``, so that Airflow does not ask every provider how to write them: that would
load boto3 each time a DAG file is parsed and each time a task starts.
"""

from __future__ import annotations

from airflow.sdk import Asset, AssetWatcher

from dam_operators.triggers import InboxTrigger

#: A brief was signed; key: brief id.
BRIEF_SIGNED = Asset("dam_brief_signed", uri="x-dam://brief/signed")
#: A review asked for changes, or the gate refused deliverables; key: package id or batch id.
CHANGES_REQUESTED = Asset("dam_changes_requested", uri="x-dam://package/changes-requested")
#: Files landed and are complete; key: batch id.
BATCH_READY = Asset("dam_batch_ready", uri="x-dam://batch/ready")
#: Versions were frozen for review; key: package id.
PACKAGE_READY = Asset("dam_package_ready", uri="x-dam://package/ready")
#: A review approved versions; key: package id.
PACKAGE_APPROVED = Asset("dam_package_approved", uri="x-dam://package/approved")
#: Something in the inbox is complete and not registered yet (watched by the triggerer).
INBOX = Asset("dam_inbox", uri="x-dam://inbox", watchers=[AssetWatcher("dam_inbox", trigger=InboxTrigger())])


def drop(name: str) -> Asset:
    """Return the event of a complete drop below ``drops/<name>/`` in the inbox; key: batch id.

    A workflow of your own listens to it; name the drop under ``drops`` in ``workflow.yaml``.
    """
    return Asset(f"dam_drop_{name}", uri=f"x-dam://drop/{name}")
