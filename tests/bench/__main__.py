"""`make bench`: measures the whole stack beside its floors, prints a table and writes JSON."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.bench.cycles import CYCLES
from tests.bench.footprint import IDLE, IN_STORE
from tests.bench.growth import GROWTH
from tests.bench.latency import DECISIONS
from tests.bench.measurement import Measurement
from tests.bench.parts import Parts
from tests.bench.plan import FULL, QUICK, Plan
from tests.bench.policies import POLICIES
from tests.bench.replays import REPLAYS
from tests.bench.report import Figure, print_table, write_json
from tests.bench.scaling import SCALING
from tests.bench.throughput import EVALUATED, MAILS, SLACK, WEBHOOKS
from tests.bench.verdicts import VERDICTS

# The idle stack first, as it has just been started; growth before the store fills.
MEASUREMENTS = (
    *(IDLE, GROWTH, DECISIONS, VERDICTS, CYCLES),
    *(WEBHOOKS, SCALING, SLACK, MAILS, EVALUATED, POLICIES, REPLAYS, IN_STORE),
)
JSON_FILE = Path(".safeguards/bench.json")


def measured(wanted: Sequence[Measurement], plan: Plan) -> tuple[list[Figure], list[str]]:
    """Measure one after the other; what they need is started and stopped.

    Returns:
        The figures, and the topics that could not be measured.
    """
    with (
        tempfile.TemporaryDirectory(prefix="safeguards-bench-") as folder,
        Parts(Path(folder)) as parts,
    ):
        return asyncio.run(_measured(wanted, parts, plan))


async def _measured(
    wanted: Sequence[Measurement], parts: Parts, plan: Plan
) -> tuple[list[Figure], list[str]]:
    figures: list[Figure] = []
    failed: list[str] = []
    for each in wanted:
        begun_at = time.monotonic()
        try:
            figures += await each.measure(parts, plan)
        except Exception:  # the others are worth having all the same
            traceback.print_exc()
            failed.append(each.topic)
        print(f"{time.monotonic() - begun_at:5.0f} s  {each.topic}", file=sys.stderr)
    return figures, failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure Safeguards beside floors of the same run. Compare ratios: the figures "
        "themselves are this machine's at this moment.",
    )
    topics = "; ".join(each.topic for each in MEASUREMENTS)
    parser.add_argument("--quick", action="store_true", help="a few of each: shows that it works")
    parser.add_argument(
        *("--only", "-k"),
        nargs="+",
        action="extend",
        metavar="WORD",
        help=f"only the figures whose topics contain one of these words: {topics}",
    )
    parser.add_argument("--rounds", type=int, help="turns of each side")
    parser.add_argument("--json", type=Path, default=JSON_FILE, help="where to write JSON")
    arguments = parser.parse_args()
    arguments.wanted = [
        each
        for each in MEASUREMENTS
        if not arguments.only or any(word in each.topic for word in arguments.only)
    ]
    if not arguments.wanted:
        parser.error(f"--only: none of the topics has such a word: {topics}")
    return arguments


def main() -> None:
    """Measure what the command line asks for."""
    arguments = _arguments()
    # As on Ctrl-C, so that whatever was started is stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    plan = QUICK if arguments.quick else FULL
    plan = replace(plan, rounds=arguments.rounds or plan.rounds)
    figures, failed = measured(arguments.wanted, plan)
    print_table(figures)
    write_json(figures, arguments.json, asdict(plan))
    print(f"written to {arguments.json}")
    if failed:
        sys.exit(f"could not be measured: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
