"""How the store's scripts are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from safeguards_runtime.store import encoding
from safeguards_runtime.store.connection import execute, raised


class Script:
    """A Lua script, sent by its hash, and whole once when the server does not know it."""

    def __init__(self, name: str) -> None:
        self._source = Path(__file__).with_name(f"{name}.lua").read_text()
        self._sha: str | None = None

    async def run_all(
        self, redis: Any, calls: Sequence[tuple[int, Sequence[encoding.Word]]], replicas: int = 0
    ) -> list[Any]:
        """Run the script once for each (number of keys, keys and arguments), in one round trip."""
        if self._sha is None:
            self._sha = await redis.script_load(self._source)
        replies = await self._pipelined(redis, calls, replicas)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            await redis.script_load(self._source)
            again = await self._pipelined(redis, [calls[at] for at in unknown], replicas)
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return raised(replies)

    async def _pipelined(
        self, redis: Any, calls: Sequence[tuple[int, Sequence[encoding.Word]]], replicas: int
    ) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            for keys, words in calls:
                pipe.evalsha(self._sha, keys, *words)
            return await execute(pipe, replicas)
