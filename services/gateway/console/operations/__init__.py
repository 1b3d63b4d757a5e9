"""The operators' pages: what they look at to see that all is well, and mend it where it is not."""

from fastapi import APIRouter

from services.gateway.console.operations import (
    agents,
    api_keys,
    audit,
    channels,
    deliveries,
    halts,
    insights,
    policies,
    queues,
)

router = APIRouter(prefix="/console", include_in_schema=False)
for part in (agents, api_keys, audit, channels, deliveries, halts, insights, policies, queues):
    router.include_router(part.router)

__all__ = ["router"]
