"""One process in which a safeguard of one's own judges, as the worker that started it sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safeguards.contracts import Prose, Title
from safeguards.errors import SafeguardsError
from safeguards.types import AlertSeverity
from safeguards_runtime.isolated_safeguard import MAX_ALERTS, MAX_ANSWER_BYTES

END_SECONDS = 1.0
"""How long a process has to end by itself, and the system to say how one has ended."""

_COMMAND = (sys.executable, "-P", "-m", "safeguards_runtime.isolated_safeguard")

_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "TMPDIR", "TZ")


class IsolatedError(SafeguardsError):
    """A safeguard gave no answer that counts. The words go on after its name: `raised KeyError`."""


class LostError(IsolatedError):
    """The process has ended, or is to be: it can judge no more."""


class AlertAnswered(BaseModel):
    """A `SafetyAlert` as it crosses."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: Title
    description: Prose
    severity: AlertSeverity
    metadata: dict[str, Any]


class Answer(BaseModel):
    """What a process says: the alerts, or why there are none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    alerts: list[AlertAnswered] = Field(default=[], max_length=MAX_ALERTS)
    failed: str = Field(default="", max_length=1000)
    ends: bool = False
    """Whether the process can judge no more."""


class IsolatedProcess:
    """One process, from its start to its end.

    Args:
        process: with pipes for its input and output.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout

    @classmethod
    async def start(cls) -> IsolatedProcess:
        """Start the interpreter. In a session of its own, so that all that it starts ends with it,
        and no Ctrl-C at a terminal reaches it.

        Raises:
            LostError: the system starts no more processes.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
                limit=MAX_ANSWER_BYTES,
            )
        except OSError as error:
            raise LostError(f"could not be started ({error.strerror})") from error
        return cls(process)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def ask(self, line: bytes) -> Answer:
        """Send a line and return the answer, however long it takes.

        Raises:
            LostError: the process has ended, or answers without end.
            IsolatedError: the answer is none.
        """
        try:
            self._requests.write(line)
            await self._requests.drain()
            answer = await self._answers.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise LostError(f"answered with more than {MAX_ANSWER_BYTES >> 10} KiB") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise LostError(await self._end()) from None
        try:
            return Answer.model_validate_json(answer)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = "/".join(map(str, wrong["loc"]))
            said = f"answered with what is no alert ({place}: {wrong['type']})"
        # Outside of the except block: the original error shows the values.
        raise IsolatedError(said)

    async def _end(self) -> str:
        """Return how it ended, in words."""
        code = None
        with contextlib.suppress(TimeoutError):
            code = await asyncio.wait_for(self._process.wait(), END_SECONDS)
        if code is None:
            return "closed its output"
        if code >= 0:
            return f"ended itself with status {code}"
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
        return f"crashed (signal {-code})"

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        self._requests.close()
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Let it end by itself; after a second, end it. Returns when nothing of it is left."""
        self._requests.close()
        try:
            await asyncio.wait_for(self._gone(), END_SECONDS)
        except TimeoutError:
            self.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone(), END_SECONDS)

    async def _gone(self) -> None:
        await self._process.wait()
        # The pipe is closed at its end, which only shows to whoever reads.
        await self._answers.read()


def _environment() -> dict[str, str]:
    """Return the environment of a process: it finds what this one finds, and knows no settings."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    paths = [str(Path(path).absolute()) for path in sys.path]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths)}
