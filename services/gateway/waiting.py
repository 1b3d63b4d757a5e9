"""Long polling: how a request waits."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Query

MAX_WAIT_SECONDS = 60

Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the outcome.")
]


async def more(heard: asyncio.Event, deadline: float) -> bool:
    """Wait until something is heard.

    Args:
        heard: from `FeedTail.subscribed`; it is cleared.
        deadline: on the event loop's clock, in seconds.

    Returns:
        False when the time is up.
    """
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        return False
    try:
        await asyncio.wait_for(heard.wait(), left)
    except TimeoutError:
        return False
    heard.clear()
    return True
