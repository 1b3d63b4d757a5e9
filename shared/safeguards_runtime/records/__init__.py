"""The rules of each kind of record, as plain functions without I/O."""

from safeguards.identifiers import Prefix
from safeguards_runtime.records.account import Account
from safeguards_runtime.records.action import Action
from safeguards_runtime.records.api_key import ApiKey
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.delivery import Delivery
from safeguards_runtime.records.endpoint import Endpoint
from safeguards_runtime.records.grant import Grant
from safeguards_runtime.records.halts import Halts
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.records.set_aside import SetAsideMessage
from safeguards_runtime.records.window import Window

KINDS: dict[Prefix, type[Record]] = {
    "acc": Account,
    "act": Action,
    "apr": Approval,
    "dlv": Delivery,
    "ept": Endpoint,
    "grt": Grant,
    "hlt": Halts,
    "key": ApiKey,
    "msg": SetAsideMessage,
    "win": Window,
}
"""The kind of record behind each prefix of an identifier."""

__all__ = [
    "KINDS",
    "Account",
    "Action",
    "ApiKey",
    "Approval",
    "Change",
    "Delivery",
    "Endpoint",
    "Grant",
    "Halts",
    "Record",
    "Refusal",
    "SetAsideMessage",
    "Window",
]
