"""The stack as chaos runs it: started again at once however often it is killed, clocks set apart.

`CHAOS_CLOCKS` names services and the seconds that their clocks are ahead: `{"notifier": 600}`.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]

from deploy.local import Stack, main, services
from deploy.supervisor import ProcessSpec, Timing

CLOCKS = "CHAOS_CLOCKS"
LIBRARY = next(Path(libfaketime.__file__).parent.rglob("libfaketime.so.1"))


def with_clocks(stack: Stack) -> list[ProcessSpec]:
    """Return the services, some with a clock of their own (libfaketime, in the process alone)."""
    ahead: dict[str, int] = json.loads(os.environ.get(CLOCKS, "{}"))
    return [
        dataclasses.replace(spec, env={**spec.env, **_clock(ahead[spec.name])})
        if spec.name in ahead
        else spec
        for spec in services(stack)
    ]


def _clock(seconds: int) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


if __name__ == "__main__":
    sys.exit(main(with_clocks, Timing(backoff_seconds=0.1, max_backoff_seconds=0.1)))
