"""What happens when an agent publishes an action, told from end to end on real processes."""

from __future__ import annotations

from decimal import Decimal

from safeguards.types import ActionStatus
from tests.stack import Stack


def test_an_allowed_action_goes_on(stack: Stack) -> None:
    """Nobody is asked: the verdict is the outcome."""
    agent = stack.client()
    action = agent.submit("trader", "read_prices", {"symbol": "X"})
    outcome = agent.wait(action, 10)
    assert (outcome.status, outcome.verdict) == (ActionStatus.APPROVED, "allow")


def test_a_person_approves(stack: Stack) -> None:
    agent = stack.client()
    action = agent.submit("trader", "transaction", {"amount": Decimal("2500.00"), "payee": "ACME"})
    mail = stack.smtp.wait_for(lambda mail: "2500.00" in str(mail), timeout=10)
    assert mail is not None
    assert stack.respond(action.id.replace("act_", "apr_"), response="approve").status_code == 200
    assert agent.wait(action, 10).status is ActionStatus.APPROVED
