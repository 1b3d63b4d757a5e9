"""What people and programs are told of. The names are wire format: webhooks carry them."""

REQUESTED = "approval.requested"
"""A person must decide."""

REMINDED = "approval.reminded"
"""Nobody has, and it is time to be told again."""

ESCALATED = "approval.escalated"
"""Nobody has, and further people are asked."""

ANSWERED = "approval.answered"
"""The agent has answered a reviewer's question: there is a new version to decide on."""

CHANGED = "approval.changed"
"""A reviewer has changed what is asked, and others must approve that: there is a new version."""

HANDED_OVER = "approval.handed_over"
"""A reviewer has put it into the hands of another, who is told."""

RESOLVED = "approval.resolved"
"""It has ended."""

UNREACHABLE = "approval.unreachable"
"""No message has reached anybody who may decide."""

ALERT_RAISED = "alert.raised"
"""An action goes ahead, and people are told."""

ACTION_RESOLVED = "action.resolved"
"""An action has ended without a question to people."""

ASKING = frozenset({REQUESTED, REMINDED, ESCALATED, ANSWERED, CHANGED, HANDED_OVER})
"""The events whose messages ask for an answer."""
