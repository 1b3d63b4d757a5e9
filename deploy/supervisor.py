"""Keeps a handful of processes running on one machine, and leaves none behind.

Each child runs in a process group of its own, so that Ctrl-C reaches only the supervisor, which
then decides who stops first, and so that whatever a child started can be ended with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.merged_log import MergedLog

NAME = "stack"
"""The name of the supervisor's own lines in the log."""

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")
_MAX_LINE_BYTES = 64 * 1024


class StartError(Exception):
    """The stack could not be started. The message names the process and says why."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running.

    Attributes:
        name: what the log calls it.
        argv: the command; what is secret belongs into `env`, since anyone may list commands.
        env: what its environment has beside the supervisor's own.
        ready: asks once whether it can be used; None if it is usable once it runs.
        pass_fds: file descriptors that it inherits.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: Callable[[], Awaitable[bool]] | None = None
    pass_fds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Timing:
    """How patient the supervisor is."""

    ready_seconds: float = 60
    """From the first start to being ready."""
    start_attempts: int = 3
    """Deaths in a row during start-up after which starting has failed."""
    stop_seconds: float = 10
    """From SIGTERM to SIGKILL."""
    backoff_seconds: float = 0.5
    """Before the first restart; doubles with each death in a row."""
    max_backoff_seconds: float = 30
    steady_seconds: float = 10
    """Uptime after which earlier deaths are forgotten."""
    poll_seconds: float = 0.05


class Supervisor:
    """Starts processes in order, restarts those that die, stops them in reverse order."""

    def __init__(self, log: MergedLog, timing: Timing | None = None) -> None:
        self._log = log
        self._timing = timing or Timing()
        self._stages: list[list[_Child]] = []
        self._stop = asyncio.Event()
        self._killed = False
        self._failure: BaseException | None = None

    async def run(self, compose: Callable[[Supervisor], Awaitable[None]]) -> int:
        """Run until SIGINT, SIGTERM or SIGHUP, then stop everything; return the exit code.

        Args:
            compose: starts the processes by `start`; cancelled if a signal comes first.

        Raises:
            StartError: if `compose` raised it; everything has been stopped by then.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal, number)
        composing = asyncio.ensure_future(compose(self))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({composing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if composing.done():
                composing.result()
                await stopping
        finally:
            for task in (composing, stopping):
                task.cancel()
            await asyncio.gather(composing, stopping, return_exceptions=True)
            await self._stop_all()
            for number in signals:
                loop.remove_signal_handler(number)
        if self._failure:
            raise self._failure
        return 1 if self._killed else 0

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start processes beside each other; return when all of them are ready.

        Raises:
            StartError: naming the first that died too often or did not get ready in time.
        """
        children = [_Child(spec, self._log, self._timing) for spec in specs]
        self._stages.append(children)
        for child in children:
            child.start().add_done_callback(self._on_child_done)
        waits = [asyncio.ensure_future(child.until_ready()) for child in children]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def say(self, text: str) -> None:
        """Write a line of the supervisor's own to the log."""
        self._log.line(NAME, text)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            self._killed = True
            for child in self._children():
                child.kill()
        self._stop.set()

    def _on_child_done(self, task: asyncio.Task[None]) -> None:
        """Stop the stack if minding a child failed, as when nobody reads the log any more."""
        if not task.cancelled() and (error := task.exception()):
            self._failure = self._failure or error
            self._stop.set()

    def _children(self) -> list[_Child]:
        return [child for stage in self._stages for child in stage]

    async def _stop_all(self) -> None:
        for stage in reversed(self._stages):
            with suppress(OSError):  # a log that nobody reads must not keep children alive
                self.say(f"stopping {', '.join(child.spec.name for child in stage)}")
            await asyncio.gather(*(child.stop() for child in stage))
        with suppress(OSError):
            self.say("stopped")


class _Child:
    """One process through all its lives."""

    def __init__(self, spec: ProcessSpec, log: MergedLog, timing: Timing) -> None:
        self.spec = spec
        self._log = log
        self._timing = timing
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._deaths_in_a_row = 0
        self._last_end = ""
        self._last_lines: deque[str] = deque(maxlen=15)

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._keep_running(), name=self.spec.name)
        return self._task

    async def until_ready(self) -> None:
        started_at = time.monotonic()
        while not await self._is_ready():
            if self._deaths_in_a_row >= self._timing.start_attempts:
                raise StartError(
                    f"{self.spec.name} ended {self._deaths_in_a_row} times in a row during "
                    f"start-up ({self._last_end}){self._shown_last_lines()}"
                )
            if time.monotonic() - started_at > self._timing.ready_seconds:
                raise StartError(
                    f"{self.spec.name} was not ready within "
                    f"{self._timing.ready_seconds:g} s{self._shown_last_lines()}"
                )
            await asyncio.sleep(self._timing.poll_seconds)
        self._log.line(NAME, f"{self.spec.name} is ready ({time.monotonic() - started_at:.1f} s)")

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is None:
            return
        self._signal(signal.SIGTERM)
        _, late = await asyncio.wait({self._task}, timeout=self._timing.stop_seconds)
        if late:
            with suppress(OSError):
                self._log.line(
                    NAME,
                    f"{self.spec.name} did not stop within {self._timing.stop_seconds:g} s; killed",
                )
            self.kill()
        # Its failure, if any, has been noted by the supervisor; here it only must have ended.
        await asyncio.wait({self._task})

    def kill(self) -> None:
        self._stopping.set()
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)

    async def _is_ready(self) -> bool:
        if self._process is None:
            return False
        if self.spec.ready is None:
            return True
        try:
            async with asyncio.timeout(5):
                return await self.spec.ready()
        except TimeoutError:
            return False

    async def _keep_running(self) -> None:
        while not self._stopping.is_set():
            started_at = time.monotonic()
            end = await self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - started_at >= self._timing.steady_seconds:
                self._deaths_in_a_row = 0
            delay = min(
                self._timing.backoff_seconds * 2**self._deaths_in_a_row,
                self._timing.max_backoff_seconds,
            )
            self._deaths_in_a_row += 1
            self._last_end = end
            self._log.line(NAME, f"{self.spec.name} ended ({end}); it starts again in {delay:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _run_once(self) -> str:
        """Run the process to its end, its lines going to the log; say how it ended."""
        # A pipe of our own: asyncio's would make the wait for the process's end depend on whether
        # a grandchild still holds it open.
        read_end, write_end = os.pipe()
        try:
            process = await _spawn(
                self.spec.argv, self.spec.env, stdout=write_end, pass_fds=self.spec.pass_fds
            )
        except OSError as error:
            os.close(read_end)
            return f"could not be started: {error}"
        finally:
            os.close(write_end)
        self._process = process
        if self._stopping.is_set():  # while it was being started
            self._signal(signal.SIGTERM)
        pump = asyncio.ensure_future(self._pump(read_end))
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({ended, pump}, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()
            return _how(await ended)
        finally:
            _signal_group(process.pid, signal.SIGKILL)  # what it started and left behind
            self._process = None
            await asyncio.wait({pump, ended}, timeout=1)
            pump.cancel()
            await asyncio.gather(pump, ended, return_exceptions=True)

    async def _pump(self, read_end: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
        )
        rest = b""
        try:
            while chunk := await reader.read(_MAX_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._write(line)
            if rest:
                self._write(rest)
        finally:
            transport.close()

    def _write(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        self._last_lines.append(text)
        self._log.line(self.spec.name, text)

    def _shown_last_lines(self) -> str:
        if not self._last_lines:
            return "; it printed nothing"
        return ". Its last lines:\n" + "\n".join(f"    {line}" for line in self._last_lines)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


async def run_command(argv: Sequence[str], env: Mapping[str, str], seconds: float) -> str:
    """Run a command to its end and return what it printed; it dies with us, as children do.

    Raises:
        StartError: if it fails or takes longer than `seconds`; has what it printed on stderr.
    """
    process = await _spawn(
        argv, env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise StartError(f"`{' '.join(argv)}` took longer than {seconds:g} s") from error
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        said = errors.decode("utf-8", "replace").strip()
        raise StartError(f"`{' '.join(argv)}` failed ({_how(process.returncode)}):\n{said}")
    return output.decode("utf-8", "replace")


async def _spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: int,
    stderr: int = asyncio.subprocess.STDOUT,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *dying_with_us(argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **env},
        process_group=0,
        pass_fds=pass_fds,
    )


def dying_with_us(argv: Sequence[str]) -> list[str]:
    """Return the command, on Linux such that it dies with the thread that starts it."""
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *argv]


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS answers PermissionError where every member of the group is a zombie.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _how(return_code: int | None) -> str:
    if return_code is not None and return_code < 0:
        return f"killed by {signal.Signals(-return_code).name}"
    return f"exit code {return_code}"
