"""A package with channels of one's own, and installing it as anybody would."""

from __future__ import annotations

from pathlib import Path

from tests import installing


def install(folder: Path) -> Path:
    """Install the package into `folder`; return `folder`."""
    return installing.install(Path(__file__).parent, folder)
