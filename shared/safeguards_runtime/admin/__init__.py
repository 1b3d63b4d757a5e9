"""`safeguards-admin`: halts, API keys, who signs in, messages set aside, whom none has reached."""

from __future__ import annotations

import sys

import typer
from redis.exceptions import RedisError

from safeguards.errors import SafeguardsError
from safeguards_runtime.admin.console import settings
from safeguards_runtime.admin.deliveries import approvals, channels, deliveries
from safeguards_runtime.admin.halts import halts
from safeguards_runtime.admin.keys import keys
from safeguards_runtime.admin.messages import messages
from safeguards_runtime.admin.reviewers import reviewers
from safeguards_runtime.telemetry import configure_logging

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(halts, name="halts")
app.add_typer(keys, name="keys")
app.add_typer(messages, name="messages")
app.add_typer(deliveries, name="deliveries")
app.add_typer(channels, name="channels")
app.add_typer(approvals, name="approvals")
app.add_typer(reviewers, name="reviewers")


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit code 1."""
    try:
        # To standard error: what a command prints may be read by a program.
        configure_logging(settings(), "safeguards-admin")
        app()
    except (SafeguardsError, RedisError, OSError) as error:
        print(f"safeguards-admin: {error}", file=sys.stderr)
        sys.exit(1)
