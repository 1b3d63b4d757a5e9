"""`safeguards`: policies checked, tested, explained and replayed before they are in force."""

from __future__ import annotations

import sys

import typer
from redis.exceptions import RedisError

from safeguards.errors import SafeguardsError
from safeguards_runtime.admin.console import settings
from safeguards_runtime.telemetry import configure_logging
from services.safeguard_evaluator.command.policy import policy
from services.safeguard_evaluator.command.replay import export_actions, replay_actions

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
policy.command("replay")(replay_actions)
policy.command("export")(export_actions)
app.add_typer(policy, name="policy")


@app.callback()
def _commands() -> None:
    """Without this, the only command would have no name of its own."""


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit code 1."""
    try:
        # To standard error: what a command prints may be read by a program.
        configure_logging(settings(), "safeguards")
        app()
    except (SafeguardsError, RedisError, OSError, UnicodeDecodeError) as error:
        print(f"safeguards: {error}", file=sys.stderr)
        sys.exit(1)
