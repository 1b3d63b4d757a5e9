"""Safeguards as nobody wants them, for those that must live with them."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from safeguards.plugins import Measure, Safeguard, Total, WindowSafeguard
from safeguards.types import Agent, SafetyAlert

KINDS = {
    "misbehaving": "tests.misbehaving_safeguards:Misbehaving",
    "counting": "tests.misbehaving_safeguards:Counting",
}


def alert(description: str, **more: Any) -> SafetyAlert:
    return SafetyAlert(title="Found", description=description, **more)


def sleep(value: Any) -> object:
    time.sleep(value)
    return []


def hang(value: Any) -> object:
    return sleep(3600)


def hold_the_interpreter(value: Any) -> object:
    """No other line of Python runs while a regular expression explodes."""
    return [alert(str(re.match(r"(a+)+$", "a" * 60 + "b")))]


def leak(value: Any) -> object:
    kept = [bytes(64 * 2**20) for _ in range(value)]  # promised, never touched: it costs no time
    return [alert(f"{len(kept)} kept")]


def print_without_end(value: Any) -> object:
    for stream in (sys.stdout, sys.stderr):
        stream.write("noise\n" * value)
        stream.flush()
    os.write(1, b"{}\n")
    return [alert(f"read {sys.stdin.read()!r}")]


def start_others(value: Any) -> object:
    """A process that outlives the check, holding on to what it inherits, and a thread."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    threading.Thread(target=time.sleep, args=(3600,)).start()
    Path(value).write_text(f"{os.getpid()} {started.pid}")
    return hang(None)


def many(value: Any) -> object:
    return [alert("again") for _ in range(value)]


def wrong_title(value: Any) -> object:
    found = alert("")
    object.__setattr__(found, "title", 5)
    return [found]


def endless(value: Any) -> object:
    metadata: dict[str, Any] = {}
    metadata["metadata"] = metadata
    return [alert("", metadata=metadata)]


def recurse(value: Any) -> object:
    return recurse(value)


DEEDS: dict[str, Callable[[Any], object]] = {
    "pass": lambda value: [],
    "find": lambda value: [alert(value, metadata={"on": date(2026, 1, 1)})],
    "sleep": sleep,
    "hang": hang,
    "hold": hold_the_interpreter,
    "raise": lambda value: 1 // 0,
    "quit": sys.exit,
    "exit": os._exit,
    "crash": lambda value: ctypes.string_at(0),
    "leak": leak,
    "print": print_without_end,
    "start": start_others,
    "nothing": lambda value: None,
    "texts": lambda value: ["an alert"],
    "many": many,
    "large": lambda value: [alert("x" * value)],
    "wrong": wrong_title,
    "endless": endless,
    "recurse": recurse,
    "environment": lambda value: [alert(" ".join(sorted(os.environ)))],
    "process": lambda value: [alert(str(os.getpid()))],
}


class Misbehaving(Safeguard):
    """Does what the argument `do` of an action says, with its argument `value`; and when it starts
    what its configuration says."""

    name: ClassVar[str] = "misbehaving"

    def configure(self, config: dict[str, Any]) -> None:
        self._config = config
        if "do" in config:
            DEEDS[config["do"]](config.get("value"))

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        if context.get("do") == "configuration":
            return [alert(repr(self._config))]
        return DEEDS[context.get("do", "pass")](context.get("value"))  # type: ignore[return-value]


class Counting(WindowSafeguard):
    """What only the built-in ones may be."""

    name: ClassVar[str] = "counting"

    def measures(self, agent: Agent, context: dict[str, Any]) -> list[Measure]:
        return [Measure("all", 60)]

    def check_windows(
        self, agent: Agent, context: dict[str, Any], totals: Any, now: Any
    ) -> list[SafetyAlert]:
        return [alert(str(total)) for total in totals.values() if isinstance(total, Total)]
