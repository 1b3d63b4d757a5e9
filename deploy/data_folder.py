"""The folder where one machine's stack keeps its store, keys and passwords."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path


class DataFolderHeldError(Exception):
    """Another running stack holds the folder."""


class DataFolder:
    """A private folder (0700, its files 0600) that one stack at a time may hold."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path.resolve()

    def hold(self) -> int:
        """Lock the folder until the returned file descriptor is closed by all who have it.

        Whoever inherits the descriptor holds the folder too. The store does, so that a store which
        outlived its supervisor is never joined by a second one writing the same files.

        Raises:
            DataFolderHeldError: naming the process that holds it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DataFolderHeldError(self._held_by(holder)) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    def _held_by(self, holder: str) -> str:
        message = f"another stack holds the data folder {self.path}: process {holder}"
        if holder.isdigit() and not _is_alive(int(holder)):
            message += " (ended, but its store is still running: end that valkey-server)"
        return f"{message}. Stop it, or set SAFEGUARDS_DATA_DIR to use another folder"

    def secret(self, name: str) -> str:
        """Return the password kept in the file `name`, made on first use."""
        path = self.path / name
        if path.exists() and (kept := path.read_text().strip()):
            return kept
        password = secrets.token_urlsafe(24)
        write_private(path, password + "\n")
        return password


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
