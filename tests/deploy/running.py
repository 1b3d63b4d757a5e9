"""A process under test: its output as it comes, and what became of the processes it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE_SECONDS = 70


def eventually(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def is_alive(process_id: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process_id}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:  # it ended while it was read
        return False
    except FileNotFoundError:
        return not Path("/proc/self/stat").exists()


class Running:
    """`python -m …` with its output read line by line; killed at the end of the `with` block."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("SAFEGUARDS_")
        }
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**clean, "PYTHONUNBUFFERED": "1", **(env or {})},
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def position(self, pattern: str, occurrence: int = 1) -> int:
        """Wait until a line matches; return its index."""
        found: list[int] = []

        def has_come() -> bool:
            has_ended = not self._reader.is_alive()
            found[:] = [n for n, line in enumerate(list(self.lines)) if re.search(pattern, line)]
            assert len(found) >= occurrence or not has_ended, f"it has ended without {pattern!r}"
            return len(found) >= occurrence

        try:
            eventually(has_come, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        return found[occurrence - 1]

    def match(self, pattern: str, occurrence: int = 1) -> re.Match[str]:
        """Wait until a line matches; return the match."""
        match = re.search(pattern, self.lines[self.position(pattern, occurrence)])
        assert match
        return match

    def process_id(self, name: str, occurrence: int = 1) -> int:
        """Wait until the child `name` has printed `pid N` so many times; return the last N."""
        return int(self.match(rf"{name} +\| pid (\d+)$", occurrence).group(1))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and for all of its output; return the exit code."""
        code = self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        assert not self._reader.is_alive(), "somebody still holds the output open"
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(DEADLINE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
