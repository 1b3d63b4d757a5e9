"""What `make demo` runs beside `make run`: an agent that asks before it spends."""

from __future__ import annotations

import json
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.text import Text

from deploy.local import AGENT_KEY_FILE, ENV_FILE, HOST
from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards.human_action import ActionStatus, HumanAction, HumanActionHandler
from safeguards.notifications.channels import HumanInTheLoopChannel
from safeguards.plugins.industry import FinancialServicesSafeguard
from safeguards.types.agent import Agent
from safeguards_runtime.settings import Settings, load_settings

TIMEOUT_SECONDS = 300

TRANSACTION = {
    "action_type": "transaction",
    "amount": Decimal("2500.00"),
    "description": "Large investment purchase",
}


class FinancialAgent(Agent):
    """An agent that may spend up to a limit on its own."""

    def __init__(self, name: str, transaction_limit: Decimal) -> None:
        super().__init__(name)
        self.transaction_limit = transaction_limit

    def run(self, **kwargs: Any) -> dict[str, Any]:
        """Pretend to carry out a transaction."""
        return {"success": True, **kwargs}


class NotRunningError(Exception):
    """There is no stack for the demo to talk to."""


def find_stack() -> tuple[Settings, str]:
    """Return the running stack's settings and the API key of the demo's agent.

    Raises:
        NotRunningError: saying what is missing.
    """
    folder = load_settings().data_dir
    env_file, key_file = folder / ENV_FILE, folder / AGENT_KEY_FILE
    missing = [str(path) for path in (env_file, key_file) if not path.exists()]
    if missing:
        raise NotRunningError(f"there is no {missing[0]}")
    settings = load_settings(env_file)
    try:
        answer = httpx2.get(f"{settings.public_url}/readyz", timeout=5)
    except httpx2.HTTPError as error:
        raise NotRunningError(f"the gateway does not answer: {error}") from error
    if answer.status_code != 200:
        raise NotRunningError(f"the gateway is not ready ({answer.status_code})")
    return settings, _api_key(key_file)


def _api_key(path: Path) -> str:
    return str(json.loads(path.read_text())["api_key"])


def run_demo(settings: Settings, api_key: str, console: Console) -> None:
    """Ask for a transaction over the agent's limit, wait for a person, and do as they say."""
    channel = HumanInTheLoopChannel()
    channel.initialize(
        {
            "webhook_url": f"{settings.public_url}/api/v1",
            "api_key": api_key,
            "timeout_seconds": TIMEOUT_SECONDS,
            "poll_interval": 5,
        }
    )
    handler = HumanActionHandler(channel)
    agent = FinancialAgent("financial_advisor", Decimal("1000.00"))
    safeguard = FinancialServicesSafeguard()
    safeguard.initialize({"transaction_limits": {agent.id: agent.transaction_limit}})
    safeguard.monitor_agent(agent.id)
    try:
        _show("The agent wants to run", TRANSACTION, console)
        alerts = safeguard.validate_agent_action(agent, TRANSACTION)
        for alert in alerts:
            console.print(Text(f"  {alert.severity}: {alert.title}", style="yellow"))
        action = handler.request_action(
            title="Approve High-Value Transaction",
            description=(
                f"Agent {agent.id} is requesting approval for a "
                f"${TRANSACTION['amount']} transaction:\n{TRANSACTION['description']}\n\n"
                f"This exceeds the agent's transaction limit of ${agent.transaction_limit}."
            ),
            agent_id=agent.id,
            metadata=TRANSACTION,
        )
        status = _wait_for_person(handler, action, settings, console)
        _conclude(agent, action, status, console)
    finally:
        safeguard.stop_monitoring_agent(agent.id)
        channel.shutdown()


def _wait_for_person(
    handler: HumanActionHandler, action: HumanAction, settings: Settings, console: Console
) -> ActionStatus:
    """Wait for the answer, showing what for and how long still."""
    mail = f"http://{HOST}:{settings.mail_page_port}"
    outcome: list[ActionStatus | BaseException] = []

    def wait() -> None:
        try:
            outcome.append(handler.wait_for_action(action))
        except BaseException as error:  # raised again below, in the thread that shows it
            outcome.append(error)

    # A daemon, so that Ctrl-C ends the demo while it waits; the question stays open.
    waiter = threading.Thread(target=wait, daemon=True)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    waiter.start()
    if not console.is_terminal:
        console.print(f"Waiting for a person: open the mail at {mail}", soft_wrap=True)
    with console.status("") as progress:
        while waiter.is_alive():
            minutes, seconds = divmod(max(0, round(deadline - time.monotonic())), 60)
            progress.update(
                f"Waiting for a person: open the mail at [link={mail}]{mail}[/link] "
                f"and follow its link … time left {minutes}:{seconds:02d}"
            )
            waiter.join(0.25)
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


def _conclude(
    agent: FinancialAgent, action: HumanAction, status: ActionStatus, console: Console
) -> None:
    colour = "green" if status.allows else "red"
    console.print(Text.assemble("The answer: ", (status.value, f"bold {colour}")))
    if action.comments:
        console.print(Text(f"  comment: {action.comments}"))
    if not status.allows:
        console.print("Nothing was executed.")
        return
    context = dict(TRANSACTION)
    for key, value in (action.response_data or {}).items():
        context[key] = Decimal(value) if key == "amount" else value
    _show("Executed", agent.run(**context), console)


def _show(title: str, values: dict[str, Any], console: Console) -> None:
    console.print(Text(title, style="bold"))
    for name, value in values.items():
        shown = f"${value}" if isinstance(value, Decimal) else str(value)
        console.print(Text(f"  {name:<12} {shown}"))


def main() -> int:
    """Run the demo; return the exit code."""
    console = Console(highlight=False)
    try:
        run_demo(*find_stack(), console)
    except NotRunningError as error:
        message = f"error: {error}. Start the stack first with `make run`."
        console.print(Text(message), soft_wrap=True)
        return 1
    except (ConfigurationError, SafeguardsError) as error:
        console.print(Text(f"error: {error}"), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped waiting. The question stays open until somebody answers it.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
