"""The types that agents, safeguards and channels share."""

from safeguards.types.action_status import ActionStatus
from safeguards.types.agent import Agent
from safeguards.types.alert import AlertSeverity, SafetyAlert

__all__ = ["ActionStatus", "Agent", "AlertSeverity", "SafetyAlert"]
