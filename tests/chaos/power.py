"""Power cuts: a store whose every write and sync is traced, so that what was not yet synced when
the power went can be taken away again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

from deploy.valkey import ValkeyServer

STRACE = shutil.which("strace")
_WRITTEN = re.compile(r"(?:write|writev|pwrite64)\b.* = (\d+)$")
_SYNCED = re.compile(r"(?:fdatasync|fsync)\b.* = 0$")


class TracedStore(ValkeyServer):
    """A store that runs under strace. Without strace on this machine it cannot be started.

    Only the main thread of the server writes its file, so the trace is in the order of events.
    """

    def __init__(
        self, directory: Path, settings: dict[str, str], password: str, port: int | None
    ) -> None:
        # One file for the whole run, so that there is one thing to cut.
        settings = {**settings, "auto-aof-rewrite-percentage": "0"}
        super().__init__(directory, settings, password, port)
        self._file = self.directory / "appendonlydir" / "appendonly.aof.1.incr.aof"
        self._trace = self.directory / "trace"
        self._plain_argv = self.argv

    def start(self, timeout_seconds: float = 20) -> None:
        """Start it under strace; what the file holds by now is taken to be safe."""
        self._safe_before = self._file.stat().st_size if self._file.exists() else 0
        # fmt: off
        self.argv = (
            STRACE or "strace", "-f", "-qq", "-s", "0", "--seccomp-bpf", "-P", str(self._file),
            "-e", "trace=write,writev,pwrite64,fdatasync,fsync", "-o", str(self._trace),
            *self._plain_argv,
        )
        # fmt: on
        super().start(timeout_seconds)

    def cut_power(self) -> int:
        """Kill it, and cut its file back to the last sync; return how many bytes were lost."""
        self.kill()
        lost = self._file.stat().st_size - self.synced_bytes()
        os.truncate(self._file, self.synced_bytes())
        return lost

    def synced_bytes(self) -> int:
        """Return how much of the file was on the disk for certain when it was last traced."""
        written = synced = self._safe_before
        for line in self._trace.read_text().splitlines():
            if found := _WRITTEN.search(line):
                written += int(found[1])
            elif _SYNCED.search(line):
                synced = written
        return synced

    def _end(self, number: signal.Signals) -> None:
        """Signal the server itself: strace ends with it, and would otherwise only let it go."""
        if self._process is None:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), number)
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        super()._end(signal.SIGKILL)
