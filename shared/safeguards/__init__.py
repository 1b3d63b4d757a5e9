"""Let AI agents ask people before they do something risky."""

from safeguards.client import AsyncSafeguards, Safeguards
from safeguards.contracts import Outcome, Question, Verdict
from safeguards.decorator import require_approval
from safeguards.errors import NotApprovedError, SafeguardsError
from safeguards.human_action import HumanAction, HumanActionHandler
from safeguards.publisher import ActionPublisher
from safeguards.types import ActionStatus, Agent, AlertSeverity, SafetyAlert

__all__ = [
    "ActionPublisher",
    "ActionStatus",
    "Agent",
    "AlertSeverity",
    "AsyncSafeguards",
    "HumanAction",
    "HumanActionHandler",
    "NotApprovedError",
    "Outcome",
    "Question",
    "Safeguards",
    "SafeguardsError",
    "SafetyAlert",
    "Verdict",
    "require_approval",
]
