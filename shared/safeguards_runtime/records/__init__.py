"""The rules of each kind of record, as plain functions without I/O."""

from safeguards.identifiers import Prefix
from safeguards_runtime.records.action import Action
from safeguards_runtime.records.api_key import ApiKey
from safeguards_runtime.records.approval import Approval
from safeguards_runtime.records.delivery import Delivery
from safeguards_runtime.records.endpoint import Endpoint
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.records.set_aside import SetAsideMessage

KINDS: dict[Prefix, type[Record]] = {
    "act": Action,
    "apr": Approval,
    "dlv": Delivery,
    "ept": Endpoint,
    "key": ApiKey,
    "msg": SetAsideMessage,
}
"""The kind of record behind each prefix of an identifier."""

__all__ = [
    "KINDS",
    "Action",
    "ApiKey",
    "Approval",
    "Change",
    "Delivery",
    "Endpoint",
    "Record",
    "Refusal",
    "SetAsideMessage",
]
