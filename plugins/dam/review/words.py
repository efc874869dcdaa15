"""What people call a package: by its versions, or by the brief that it is to sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dam.catalog.models import Package


def holds(package: Package, versions: int) -> str:
    """Return what a package holds: ``2 versions``, or ``brief 3``. :param versions: how many."""
    if package.brief is not None:
        return f"brief {package.brief.number}"
    return "1 version" if versions == 1 else f"{versions} versions"
