"""The store: records, their history and indexes, the outcome feed, the agendas."""

from safeguards_runtime.store.connection import NotReplicatedError
from safeguards_runtime.store.store import Store, StoreBusyError

__all__ = ["NotReplicatedError", "Store", "StoreBusyError"]
