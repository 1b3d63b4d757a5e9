"""What Prometheus reads: of this process, and of the store, the same from every gateway."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from safeguards.types import ActionStatus
from safeguards_runtime.records import Endpoint, approval
from safeguards_runtime.records.approval import UNREACHED_INDEX
from safeguards_runtime.records.delivery import DeliveryStatus
from safeguards_runtime.records.endpoint import EndpointStatus
from safeguards_runtime.records.events import UNREACHABLE
from safeguards_runtime.store import Store

MAX_ENDPOINTS = 1000

_GAUGES = {
    "safeguards_approvals_pending": (
        "Approvals that wait for an answer",
        approval.index(None, ActionStatus.PENDING),
    ),
    "safeguards_approvals_unreached": (
        "Approvals that wait, and of which nobody could be told",
        UNREACHED_INDEX,
    ),
    "safeguards_deliveries_pending": (
        "Deliveries that wait to be sent",
        f"deliveries:status:{DeliveryStatus.PENDING}",
    ),
    "safeguards_deliveries_dead": (
        "Deliveries that were given up",
        f"deliveries:status:{DeliveryStatus.DEAD}",
    ),
}
"""Each gauge's help, and the list whose length it shows."""


class _Known(Collector):
    """Metrics that were read from the store a moment ago."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def exposition(store: Store) -> bytes:
    """Return the metrics of this process and of the store, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    gauges = [
        GaugeMetricFamily(name, help_, value=await store.counted(index))
        for name, (help_, index) in _GAUGES.items()
    ]
    registry.register(_Known([*gauges, *await _counters(store), await _endpoints(store)]))
    return generate_latest() + generate_latest(registry)


async def _counters(store: Store) -> list[Metric]:
    deliveries = CounterMetricFamily(
        "safeguards_deliveries", "What happened to deliveries", labels=["event", "channel"]
    )
    counters = await store.counters()
    for name, count in sorted(counters.items()):
        kind, _, rest = name.partition(":")
        event, _, channel = rest.partition(":")
        if kind == "deliveries":
            deliveries.add_metric([event, channel], count)
    unreachable = CounterMetricFamily(
        "safeguards_approvals_unreachable",
        "How often nobody could be told of an approval",
        value=counters.get(UNREACHABLE, 0),
    )
    return [deliveries, unreachable]


async def _endpoints(store: Store) -> Metric:
    states = GaugeMetricFamily(
        "safeguards_endpoint_up",
        "Whether messages are sent to a channel that has failed",
        labels=["channel"],
    )
    _, records = await store.load(await store.listed("endpoints", limit=MAX_ENDPOINTS))
    for record in records:
        # An agent's own address may hold a secret.
        if isinstance(record, Endpoint) and not record.name.startswith("callback:"):
            states.add_metric([record.name], record.status is EndpointStatus.UP)
    return states
