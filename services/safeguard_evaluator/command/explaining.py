"""One action explained: which policies were looked at, what each says of it, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from safeguards.contracts import ActionSubmission, Verdict
from safeguards_runtime.matching import agent_fits, unfit_arguments
from safeguards_runtime.policy_book import PolicyBook
from safeguards_runtime.records.judgement import Clause
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.type_index import TypeIndex
from services.safeguard_evaluator.trying_out import Asked, Desk
from services.safeguard_evaluator.verdicts import Candidate, Inspection, judge

Role = Literal["decides", "milder", "outranked", "abstains", "shadow"]
"""What comes of a policy for the action: it leads to the verdict, is milder than those that do, is
outranked by one of a higher priority, has nothing to say, or is on trial."""


class Matched(BaseModel):
    """A policy for the action, and what it says."""

    model_config = ConfigDict(frozen=True)

    policy: str
    priority: int
    role: Role

    action_types: tuple[str, ...]
    agent_ids: tuple[str, ...]
    arguments: dict[str, tuple[str, ...]]
    """By what it matched."""

    condition: str | None
    condition_value: str | None
    """`true`; or why it could not be evaluated."""

    safeguards: tuple[str, ...]
    clauses: tuple[Clause, ...]
    """What in it led to more than its own verdict."""

    verdict: Verdict


class Unmatched(BaseModel):
    """A policy for actions of this type that is not for this one."""

    model_config = ConfigDict(frozen=True)

    policy: str
    why: str


class Explanation(BaseModel):
    """The verdict on an action, and how it came about."""

    model_config = ConfigDict(frozen=True)

    agent_id: str
    action_type: str
    version: str
    """Of the policies."""

    looked_at: int
    """How many policies there are."""

    verdict: Verdict
    reasons: tuple[str, ...]
    matched: tuple[Matched, ...]
    unmatched: tuple[Unmatched, ...]
    terms: Terms | None
    """How people would be asked; None if they are not."""


async def explain(submission: ActionSubmission, desk: Desk) -> Explanation:
    """Return the verdict on an action, and how it came about. Nothing is remembered."""
    asked = Asked(submission.action_type, submission.context, submission.agent_id)
    inspection = await desk.inspect(asked)
    judgement = judge(inspection, desk.ledger)
    is_asking = judgement.verdict is Verdict.REQUIRE_APPROVAL
    return Explanation(
        agent_id=asked.agent_id,
        action_type=asked.action_type,
        version=judgement.version,
        looked_at=len(desk.book.policies),
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        matched=tuple(
            _matched(candidate, inspection, desk, judgement.policies)
            for candidate in inspection.candidates
        ),
        unmatched=tuple(_unmatched(inspection, desk.book)),
        terms=judgement.terms if is_asking else None,
    )


def _matched(
    candidate: Candidate, inspection: Inspection, desk: Desk, deciding: tuple[str, ...]
) -> Matched:
    policy = candidate.policy
    # A policy on trial says all that it has to say, whatever the others do.
    on_trial = replace(candidate, policy=policy.model_copy(update={"mode": "shadow"}))
    clauses = judge(replace(inspection, candidates=(on_trial,)), desk.ledger).shadow
    verdicts = [clause.verdict for clause in clauses]
    least = Verdict.ALLOW if candidate.failure else policy.least
    return Matched(
        policy=policy.name,
        priority=policy.priority,
        role=_role(candidate, inspection, deciding, is_silent=not clauses),
        action_types=_of_type(policy.match.action_types, inspection.asked.action_type),
        agent_ids=policy.match.agent_ids,
        arguments=policy.match.arguments,
        condition=policy.condition,
        condition_value=(candidate.failure or "true") if policy.condition else None,
        safeguards=policy.safeguards,
        clauses=clauses,
        verdict=max([least, *verdicts], key=lambda one: one.rank),
    )


def _of_type(globs: tuple[str, ...], action_type: str) -> tuple[str, ...]:
    """Return the globs that are for a type of actions."""
    return TypeIndex(((glob,), glob) for glob in globs).of_type(action_type)


def _role(
    candidate: Candidate, inspection: Inspection, deciding: tuple[str, ...], *, is_silent: bool
) -> Role:
    if candidate.policy.mode == "shadow":
        return "shadow"
    if candidate.policy.name in deciding:
        return "decides"
    if candidate.policy.abstains:
        return "abstains" if is_silent else "milder"
    # One whose condition could not be evaluated decides whatever its priority is.
    sure = [one for one in inspection.candidates if not (one.failure or one.policy.abstains)]
    highest = max(
        (one.policy.priority for one in sure if one.policy.mode == "active"),
        default=candidate.policy.priority,
    )
    is_outranked = candidate.failure is None and candidate.policy.priority < highest
    return "outranked" if is_outranked else "milder"


def _unmatched(inspection: Inspection, book: PolicyBook) -> Iterator[Unmatched]:
    """Yield the policies whose types fit, and for which the action is none all the same."""
    asked = inspection.asked
    matched = {one.policy.name for one in inspection.candidates}
    for policy in book.index.of_type(asked.action_type):
        if policy.name in matched:
            continue
        if not agent_fits(policy.match, asked.agent_id):
            why = f"it is for the agents {', '.join(policy.match.agent_ids)}"
        elif unfit := unfit_arguments(policy, asked.context):
            wanted = [f"{name}: {', '.join(policy.match.arguments[name])}" for name in unfit]
            why = f"it is for the arguments {'; '.join(wanted)}"
        else:
            why = f"its condition is false: {policy.condition}"
        yield Unmatched(policy=policy.name, why=why)


def lines_of(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation in lines for a person."""
    yield (
        f"{explanation.verdict}: {explanation.action_type} by {explanation.agent_id} "
        f"(policies {explanation.version})"
    )
    for reason in explanation.reasons:
        yield f"  because {reason}"
    if explanation.terms is not None:
        yield f"  asks {_terms_in_words(explanation.terms)}"
    matched = len(explanation.matched)
    yield f"{explanation.looked_at} policies looked at, {matched} for this action"
    for one in explanation.matched:
        yield f"{one.policy}: {one.verdict} ({one.role}, priority {one.priority})"
        yield f"  match: action_types {', '.join(one.action_types)}"
        if one.agent_ids != ("*",):
            yield f"  match: agent_ids {', '.join(one.agent_ids)}"
        for name, globs in one.arguments.items():
            yield f"  match: argument {name}: {', '.join(globs)}"
        if one.condition is not None:
            yield f"  condition: {one.condition_value}: {one.condition}"
        for clause in one.clauses:
            yield f"  {clause.part}: {clause.verdict}: {clause.words}"
        for name in one.safeguards:
            if all(clause.part != f"safeguards.{name}" for clause in one.clauses):
                yield f"  safeguards.{name}: no alert"
    for near in explanation.unmatched:
        yield f"{near.policy}: not for this action: {near.why}"


def _terms_in_words(terms: Terms) -> str:
    people = f"{terms.quorum} of {', '.join(terms.groups)}"
    four_eyes = ", whoever changes it not counted" if terms.four_eyes else ""
    editable = ", ".join(terms.editable) or "nothing"
    return (
        f"{people}{four_eyes}, by {', '.join(terms.channels) or 'no channel'}, for "
        f"{terms.timeout_seconds} s, then {terms.on_timeout}; "
        f"they may change {editable}, and answer by {', '.join(terms.answer_by)}"
    )
