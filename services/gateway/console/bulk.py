"""Answering many requests that are alike at once: looked at together, judged one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from itsdangerous import BadData

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards.identifiers import is_id
from safeguards.types import AlertSeverity
from safeguards_runtime.headlines.amounts import AMOUNT_LIMIT, money_words
from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Approval, Refusal
from services.gateway.approvals import judged
from services.gateway.console.arguments import Argument, all_in_sight
from services.gateway.console.listing import Reader, reader_of
from services.gateway.console.people import ending
from services.gateway.console.session import FromOurPage, Session, SignedIn
from services.gateway.pages import page
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem

MAX_AT_ONCE = 100

SEAL_SECONDS = 3600
"""How long the page that was shown can be answered by."""

SUM_DIGITS = 4 * AMOUNT_LIMIT
"""How many digits a sum may have: more than those of the longest and the smallest amount."""

SEALED_FOR = "bulk"

MAX_REASON_LENGTH = 2000

MAX_ARGUMENTS = 24
"""How many arguments a request may have, their parts counted, to be read among others."""

router = APIRouter(include_in_schema=False)


class Kind(NamedTuple):
    """What requests must have in common to be answered at once."""

    agent_id: str
    action_type: str
    policies: tuple[str, ...]

    @classmethod
    def of(cls, asked: Approval) -> Kind:
        """Return the kind of a request."""
        return cls(asked.agent_id, asked.action_type, tuple(sorted(asked.policies)))


@dataclass(frozen=True)
class Result:
    """What became of one of many answers."""

    asked: Approval
    sentence: str
    is_done: bool
    words: str


def hindrance(asked: Approval, reader: Reader) -> str | None:
    """Return why a request cannot be answered together with others; None if it can."""
    if asked.status.is_final:
        return "it has been answered"
    if not reader.may_answer(asked):
        return "somebody else decides"
    if "console" not in asked.terms.answer_by:
        return f"it is answered {asked.terms.how_answered()}"
    if asked.severity.at_least(AlertSeverity.ERROR):
        return "its risk is high: look at it by itself"
    if asked.terms.quorum > 1 or asked.terms.four_eyes:
        return "more than one person decides"
    if asked.claim is not None and asked.claim.reviewer_id != reader.reviewer.id:
        return "somebody has it in hand"
    if asked.amendment is not None or asked.paused_at is not None:
        return "the agent is changing it, or has been asked"
    said = headline(asked)
    if said.is_ambiguous:
        return f"{said.doubts[0]}: look at it by itself"
    if said.figure and said.figure.is_negative:
        return "its amount is negative: look at it by itself"
    if _arguments(asked) is None:
        return "its arguments are too many or too long to be read here: look at it by itself"
    return None


def _arguments(asked: Approval) -> tuple[Argument, ...] | None:
    """Return all that would run, as the page shows it; None if it cannot show all of it."""
    return all_in_sight(asked.shown_context, asked.action_type, MAX_ARGUMENTS)


def may_be_answered_in_bulk(asked: Approval, reader: Reader) -> bool:
    """Tell whether a request can be answered together with others like it."""
    return hindrance(asked, reader) is None


@router.get("/console/bulk")
async def confirm(
    request: Request,
    session: SignedIn,
    gateway: Gateway,
    id: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """Show what would be answered. It changes nothing."""
    return await _confirm(gateway, request, session, id or [])


async def _confirm(
    gateway: Parts, request: Request, session: Session, ids: Iterable[str], error: str = ""
) -> Response:
    wanted = list(dict.fromkeys(one for one in ids if is_id(one, "apr")))
    reader = reader_of(gateway, session.reviewer, session.now)
    _, records = await gateway.store.load(wanted[:MAX_AT_ONCE])
    read = [r for r in records if isinstance(r, Approval) and reader.may_read(r.groups)]
    left_out = [
        (asked, headline(asked), reason) for asked in read if (reason := hindrance(asked, reader))
    ]
    fit = [asked for asked in read if may_be_answered_in_bulk(asked, reader)]
    kinds: defaultdict[Kind, list[Approval]] = defaultdict(list)
    for asked in fit:
        kinds[Kind.of(asked)].append(asked)
    shown = {
        "rows": [(asked, headline(asked), _arguments(asked)) for asked in fit],
        "kind": next(iter(kinds)) if len(kinds) == 1 else None,
        "kinds": [(kind, len(alike), _address(alike)) for kind, alike in kinds.items()],
        "left_out": left_out,
        "too_many": max(0, len(wanted) - MAX_AT_ONCE),
        "max_at_once": MAX_AT_ONCE,
        "sums": _sums(fit),
        "without_amount": sum(1 for asked in fit if _exactly(asked) is None),
        "seal": gateway.seals.dumps(
            [SEALED_FOR, session.id, [[a.id, a.version, a.digest] for a in fit]]
        ),
        "max_reason": MAX_REASON_LENGTH,
        "zone": session.reviewer.zone,
        "error": error,
    }
    status = 422 if error else 200
    return page(gateway, request, "console/bulk.html", shown, session=session, status=status)


def _address(alike: Iterable[Approval]) -> str:
    return f"/console/bulk?{urlencode([('id', asked.id) for asked in alike])}"


def _exactly(asked: Approval) -> tuple[Decimal, str] | None:
    """Return how much a request is about, and the currency; None if it cannot be added up."""
    said = headline(asked)
    figure = said.figure
    if figure is None or figure.exact is None or figure.is_negative or said.is_ambiguous:
        return None
    return figure.exact, figure.currency


def _sums(alike: Iterable[Approval]) -> list[str]:
    """Return how much it is altogether, in each currency."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    with localcontext(prec=SUM_DIGITS):
        for asked in alike:
            if (found := _exactly(asked)) is not None:
                amount, currency = found
                sums[currency] += amount
    return [money_words(amount, currency) for currency, amount in sums.items()]


@router.post("/console/bulk", dependencies=[FromOurPage])
async def decide(
    request: Request,
    session: SignedIn,
    gateway: Gateway,
    response: Annotated[str, Form()] = "",
    seal: Annotated[str, Form()] = "",
    comments: Annotated[str, Form()] = "",
) -> Response:
    """Have each answer judged by itself, as the page showed the requests; say what became of it."""
    again = "This page has expired, or was not all sent. Here it is again: please answer once more."
    try:
        purpose, session_id, sealed = gateway.seals.loads(seal, SEAL_SECONDS)
        kind = ResponseKind(response)
    except (BadData, ValueError, TypeError):
        return await _confirm(gateway, request, session, [], again)
    ids = [record_id for record_id, _, _ in sealed]
    if (purpose, session_id) != (SEALED_FOR, session.id):
        return await _confirm(gateway, request, session, [], again)
    reason = comments.replace("\r\n", "\n").strip()
    if kind not in (ResponseKind.APPROVE, ResponseKind.REJECT):
        return await _confirm(gateway, request, session, ids, "Approve or reject them.")
    if kind is ResponseKind.REJECT and not reason:
        return await _confirm(gateway, request, session, ids, "Say why you reject them.")
    if len(reason) > MAX_REASON_LENGTH:
        return await _confirm(gateway, request, session, ids, "That reason is too long.")
    _, records = await gateway.store.load(ids)
    seen = [record for record in records if isinstance(record, Approval)]
    if len({Kind.of(asked) for asked in seen}) != 1 or len(seen) != len(ids):
        return await _confirm(gateway, request, session, ids, "These are not alike.")
    results = [
        await _judged(
            gateway,
            session,
            asked,
            ResponseSubmission(response=kind, version=version, digest=digest, comments=reason),
        )
        for asked, (_, version, digest) in zip(seen, sealed, strict=True)
    ]
    return page(
        gateway, request, "console/bulk_results.html", _told(results, kind), session=session
    )


async def _judged(
    gateway: Parts, session: Session, asked: Approval, submission: ResponseSubmission
) -> Result:
    """Answer one request, and tell what became of it. One that is refused stops no other."""
    reader = reader_of(gateway, session.reviewer, session.now)
    sentence = headline(asked).sentence
    reason = hindrance(asked, reader)
    # What has been answered meanwhile is judged all the same: it may be this very answer.
    if reason is not None and not asked.status.is_final:
        return Result(asked, sentence, False, f"Not answered: {reason}")
    try:
        standing = await judged(
            gateway.store,
            asked.id,
            submission,
            session.reviewer,
            "console",
            wards=reader.wards,
        )
    except Refusal as refusal:
        return Result(asked, sentence, False, f"Not answered: {refusal.detail}")
    except Problem as problem:
        return Result(asked, sentence, False, f"Not answered: {problem.detail}")
    outcome = standing.outcome
    by = (outcome.decided_by, outcome.decided_for) if outcome else (None, None)
    return Result(standing, sentence, True, ending(gateway, standing.status, *by))


def _told(results: Sequence[Result], kind: ResponseKind) -> dict[str, Any]:
    done = [result for result in results if result.is_done]
    return {
        "results": sorted(results, key=lambda result: result.is_done),
        "done": len(done),
        "not_done": len(results) - len(done),
        "word": "approved" if kind is ResponseKind.APPROVE else "rejected",
        "sums": _sums(result.asked for result in done),
    }
