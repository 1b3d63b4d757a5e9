"""One readable log of many processes: `HH:MM:SS name | line`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TextIO

from safeguards.text import visible

_COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)


class MergedLog:
    """Writes the lines of named sources to one stream.

    Args:
        stream: where to; names are coloured when it is a terminal and `NO_COLOR` is not set.
        names: the sources, in the order of their colours; the widest sets the margin.
    """

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        self._stream = stream
        self._width = max(map(len, names), default=0)
        coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours = (
            {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
            if coloured
            else {}
        )

    def line(self, name: str, text: str) -> None:
        """Write one line of one source.

        What a child prints may quote an agent: control characters are written out, so that no
        line can steer the terminal.

        Raises:
            OSError: if nobody reads the stream any more.
        """
        label = name.ljust(self._width)
        if colour := self._colours.get(name):
            label = f"\x1b[{colour}m{label}\x1b[0m"
        shown = text if text.isprintable() else visible(text)
        self.write(f"{time.strftime('%H:%M:%S')} {label} | {shown}")

    def write(self, text: str) -> None:
        """Write text of our own, without a name before it."""
        self._stream.write(text + "\n")
        self._stream.flush()
