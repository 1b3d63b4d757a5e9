"""The store: records, their history and indexes, the outcome feed, the agendas."""

from safeguards_runtime.store.store import Store, StoreBusyError

__all__ = ["Store", "StoreBusyError"]
