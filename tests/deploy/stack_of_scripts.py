"""Supervises the small scripts that a JSON file describes: what the tests of the supervisor run.

The file has `stages`, each a list of `{"name", "code", "ready_file"}`, and `timing`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from deploy.merged_log import MergedLog
from deploy.supervisor import NAME, ProcessSpec, StartError, Supervisor, Timing


def _exists(path: str | None) -> Callable[[], Awaitable[bool]] | None:
    if path is None:
        return None

    async def check() -> bool:
        return await asyncio.to_thread(Path(path).exists)

    return check


def _spec(described: dict[str, Any]) -> ProcessSpec:
    return ProcessSpec(
        described["name"],
        (sys.executable, "-u", "-c", described["code"]),
        described.get("env", {}),
        _exists(described.get("ready_file")),
    )


async def run(stages: list[list[ProcessSpec]], timing: Timing) -> int:
    log = MergedLog(sys.stdout, [NAME, *(spec.name for stage in stages for spec in stage)])

    async def compose(supervisor: Supervisor) -> None:
        for stage in stages:
            await supervisor.start(stage)
        supervisor.say("started")

    return await Supervisor(log, timing).run(compose)


def main() -> int:
    described = json.loads(Path(sys.argv[1]).read_text())
    stages = [[_spec(process) for process in stage] for stage in described["stages"]]
    try:
        return asyncio.run(run(stages, Timing(**described["timing"])))
    except StartError as error:
        print(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
