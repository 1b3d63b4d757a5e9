"""Packages of one's own, installed for real or as far as anybody who looks can tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install(package: Path, folder: Path) -> Path:
    """Install a package into `folder`, from its source and without a network; return `folder`.

    A process that has `folder` in its PYTHONPATH has the package installed.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    done = subprocess.run(
        [*command, *offline, str(package)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def register(folder: Path, package: str, *, group: str, **kinds: str) -> Path:
    """Make `package` look installed in `folder`, with entry points in a group; return `folder`."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in kinds.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folder
