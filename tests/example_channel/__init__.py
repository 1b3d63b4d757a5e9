"""A package with channels of one's own, and installing it as anybody would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent


def install(folder: Path) -> Path:
    """Install the package into `folder`, from its source and without a network; return `folder`.

    A process that has `folder` in its PYTHONPATH has the package installed.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    done = subprocess.run(
        [*command, *offline, str(PACKAGE)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder
