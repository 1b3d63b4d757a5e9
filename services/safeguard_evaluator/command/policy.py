"""`safeguards policy`: whether a policy file is right, and what it says of actions."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from safeguards import strict_json
from safeguards.contracts import ActionSubmission
from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards.text import visible
from safeguards_runtime.admin.console import AsJson, settings
from safeguards_runtime.channels import ChannelsFile
from safeguards_runtime.configuration import load_yaml
from safeguards_runtime.policy_book import (
    READY_MADE,
    PolicyBook,
    load_policies,
    ready_made_names,
)
from safeguards_runtime.policy_schema import policy_schema, schema_of
from safeguards_runtime.reviewers import load_directory
from safeguards_runtime.rules import Rules, load_rules, unknown_channels
from services.safeguard_evaluator.command.cases import (
    CaseFile,
    Failure,
    cases_beside,
    cases_of,
    run_cases,
)
from services.safeguard_evaluator.command.explaining import Explanation, explain, lines_of
from services.safeguard_evaluator.trying_out import Desk

policy = typer.Typer(help="Policies, tried out before they are in force.", no_args_is_help=True)

PolicyPath = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The policy file; that of the settings unless given."),
]


@policy.command("check")
def check_file(
    file: PolicyPath = None,
    reviewers: Annotated[
        Path | None, typer.Option(help="Who may answer; that of the settings unless given.")
    ] = None,
    channels: Annotated[
        Path | None, typer.Option(help="The channels; that of the settings unless given.")
    ] = None,
) -> None:
    """Check a policy file as the services do: its mistakes, each with its line.

    A channel that the channels file does not have is no mistake, but left out: a warning says so.
    """
    path = file or settings().policies_file
    rules = Rules(load_policies(path), load_directory(reviewers or settings().reviewers_file))
    book = rules.book
    known = load_yaml(channels or settings().channels_file, ChannelsFile).channels
    for place in unknown_channels(rules, known):
        typer.echo(f"warning: there is no such channel: {place}", err=True)
    typer.echo(
        f"ok: {len(book.policies)} policies, {len(book.uses)} safeguards, version {book.version}"
    )


@policy.command("test")
def run_files(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Policy files with cases beside them, or files of cases; the policy file of the "
            "settings unless given.",
        ),
    ] = None,
    ready_made: Annotated[
        bool, typer.Option("--ready-made", help="The cases of the ready-made policies.")
    ] = False,
) -> None:
    """Judge the cases beside policies; print those that come out otherwise than they say."""
    paths = [cases_of(file) for file in files or ()]
    if ready_made:
        paths += [READY_MADE / f"{name}.cases.yaml" for name in ready_made_names()]
    count, failures = asyncio.run(_run_all(paths or [cases_beside(settings().policies_file)]))
    for failure in failures:
        _print_failure(failure)
    if failures:
        raise SafeguardsError(f"{len(failures)} of {count} cases failed")
    typer.echo(f"ok: {count} cases")


async def _run_all(paths: list[Path]) -> tuple[int, list[Failure]]:
    results = [await run_cases(path) for path in paths]
    return sum(count for count, _ in results), [one for _, found in results for one in found]


def _print_failure(failure: Failure) -> None:
    _print(f"{failure.path}:{failure.line}: {failure.name}")
    for difference in failure.differences:
        _print(f"  {difference}")
    for reason in failure.reasons:
        _print(f"  because {reason}")


@policy.command("explain")
def explain_action(
    action: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The action as JSON, {agent_id, action_type, context}; - for standard input.",
        ),
    ],
    file: PolicyPath = None,
    as_json: AsJson = False,
) -> None:
    """Explain the verdict on one action: what matched, what did not, and why.

    It is judged as of now, as if nothing had come before: no window has counted anything. Grants
    and what is halted are not looked at. Without FILE, what the services would not load is refused.
    """
    submission = _submission(action)
    book = load_policies(file) if file else load_rules(settings()).book
    explanation = asyncio.run(_explained(submission, book))
    if as_json:
        typer.echo(explanation.model_dump_json())
        return
    for line in lines_of(explanation):
        _print(line)


async def _explained(submission: ActionSubmission, book: PolicyBook) -> Explanation:
    desk = Desk(book, datetime.now(UTC))
    try:
        return await explain(submission, desk)
    finally:
        await desk.plugins.aclose()


@policy.command("schema")
def print_schema(
    cases: Annotated[bool, typer.Option("--cases", help="That of a file of cases.")] = False,
) -> None:
    """Print the JSON Schema of a policy file, for editors.

    One that knows YAML takes it by a line at the top of the file:
    # yaml-language-server: $schema=policies.schema.json
    """
    typer.echo(schema_of(CaseFile) if cases else policy_schema(), nl=False)


def _submission(path: str) -> ActionSubmission:
    """Return an action that is written in a file.

    Raises:
        ConfigurationError: it is none; names each place that is wrong.
    """
    where = "standard input" if path == "-" else path
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        return ActionSubmission.model_validate(strict_json.parse(content))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where}: is no action: it is not in UTF-8") from error
    except RecursionError as error:
        raise ConfigurationError(f"{where}: is no action: it nests too deep") from error
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, line['loc'])) or 'the top'}: {line['msg']}"
            for line in error.errors(include_url=False)
        ]
        raise ConfigurationError(f"{where}: is no action: {'; '.join(wrong)}") from error
    except ValueError as error:
        raise ConfigurationError(f"{where}: is no action: it is no valid JSON: {error}") from error


def _print(line: str) -> None:
    """Print a line. What stands in it may come from an agent, and a terminal obeys what it gets."""
    indent = " " * (len(line) - len(line.lstrip(" ")))
    typer.echo(indent + visible(line, single_line=True))
