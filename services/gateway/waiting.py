"""Long polling: how long a request may wait."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

MAX_WAIT_SECONDS = 60

Wait = Annotated[
    float, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the outcome.")
]
