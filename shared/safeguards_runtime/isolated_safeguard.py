"""The process in which one safeguard of one's own judges: see `isolation`, which starts it.

It reads lines of JSON from its standard input and answers each with one on its standard output.
The first line says which safeguard it is and how long a check may take; each other is an action.
At the end of its input it ends, whatever the safeguard has left running.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import yaml

from safeguards.errors import ConfigurationError
from safeguards.plugins import Safeguard
from safeguards.types import SafetyAlert
from safeguards_runtime.remote_agent import RemoteAgent
from safeguards_runtime.safeguard_kinds import safeguard_of

MEMORY_BYTES = 2**30
"""How much data a safeguard may hold. One that leaks fails by it, and is started anew."""

GRACE_SECONDS = 1.0
"""How much longer than it may a check lives on if nobody is there to end it."""

MAX_ALERTS = 100
"""How many alerts one action may raise."""

MAX_ANSWER_BYTES = 256 * 1024


class _NoAnswerError(Exception):
    """What a safeguard returned is no list of alerts. The words say what it is."""


def main() -> None:
    """Answer until the end of the input."""
    requests, answers = _own_streams()
    _bound_memory()
    first = json.loads(requests.readline())
    _end_after(first["ready_seconds"])
    try:
        safeguard = safeguard_of(first["kind"], yaml.safe_load(first["config"]))
    except ConfigurationError as error:
        _write(answers, {"failed": f"could not be loaded: {error}"[:500]})
        return
    _end_after(0)
    _write(answers, {"alerts": []})
    for line in iter(requests.readline, b""):
        _end_after(first["time_limit_seconds"])
        answer = _judged(safeguard, json.loads(line))
        _end_after(0)
        _write(answers, answer)


def _judged(safeguard: Safeguard, request: dict[str, Any]) -> dict[str, Any]:
    agent = RemoteAgent(request["agent_id"])
    try:
        return {"alerts": _encoded(safeguard.validate_agent_action(agent, request["context"]))}
    except _NoAnswerError as error:
        return {"failed": str(error)}
    except MemoryError:
        return {"failed": f"needs more than {MEMORY_BYTES >> 20} MiB", "ends": True}
    # A safeguard that calls sys.exit has failed like any other.
    except BaseException as error:
        place = _place(error.__traceback__, safeguard)
        return {"failed": f"raised {type(error).__name__[:100]} ({place})"}


def _encoded(alerts: object) -> list[dict[str, Any]]:
    """Return alerts as JSON types. What they hold is checked by whoever reads them."""
    if not isinstance(alerts, list | tuple):
        raise _NoAnswerError(f"answered with {_kind(alerts)}, which is no list of alerts")
    if len(alerts) > MAX_ALERTS:
        raise _NoAnswerError(f"answered with {len(alerts)} alerts: {MAX_ALERTS} are the most")
    for alert in alerts:
        if not isinstance(alert, SafetyAlert):
            raise _NoAnswerError(f"answered with {_kind(alert)}, which is no alert")
    fields = ("title", "description", "severity", "metadata")
    encoded = [{name: getattr(alert, name) for name in fields} for alert in alerts]
    try:
        # Here, where it is the safeguard's own failure; Decimals become strings.
        written = json.dumps(encoded, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise _NoAnswerError("answered with an alert that cannot be written as JSON") from error
    if len(written) > MAX_ANSWER_BYTES // 2:
        raise _NoAnswerError(f"answered with more than {MAX_ANSWER_BYTES >> 11} KiB")
    loaded: list[dict[str, Any]] = json.loads(written)
    return loaded


def _kind(value: object) -> str:
    return type(value).__name__[:100]


def _place(traceback: TracebackType | None, safeguard: Safeguard) -> str:
    """Return the last place in the safeguard's own module, without any value, for its author."""
    own = getattr(sys.modules.get(type(safeguard).__module__), "__file__", None)
    place = "elsewhere"
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file == own:
            place = f"{Path(file).name[:100]}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return the input and output, out of reach of a safeguard that reads or prints."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, answers


def _bound_memory() -> None:
    """Let a safeguard that leaks harm itself, as far as the system lets us."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    # Where memory is short all the same, this process is ended and not the worker (Linux).
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_after(seconds: float) -> None:
    """Let the system end this process after so many seconds and the grace; 0: let it live on.

    Whoever waits for an answer ends it earlier. If that process is no more, this holds even while
    the safeguard never lets another line of Python run.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS if seconds else 0)


def _write(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
    # Threads that the safeguard has left running hold nothing up.
    os._exit(0)
