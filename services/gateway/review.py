"""The page behind an email's link: the page of the request, with the link's rights. A GET shows it;
only a person's POST decides."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from safeguards.identifiers import is_id
from safeguards_runtime.headlines.sentence import Headline, headline
from safeguards_runtime.records import Approval, Delivery
from safeguards_runtime.records.delivery import parcel_index, token_hash
from services.gateway.console.answering import answered
from services.gateway.console.binding import shown_by
from services.gateway.console.listing import reader_of
from services.gateway.console.people import ending
from services.gateway.console.request_page import Visit, request_page
from services.gateway.console.requests import seen, whole
from services.gateway.console.session import comes_from_us, session_of
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts

router = APIRouter(prefix="/review", include_in_schema=False)

MAX_LISTED = 1000


@router.get("/{token}")
async def show(token: str, request: Request, gateway: Gateway) -> Response:
    """Show the request, or the list of those that a digest stood for. Mail scanners come here
    too: it changes nothing."""
    delivery = await _delivery(gateway, token, _leading(token))
    if delivery is not None and delivery.parcel_id == delivery.id:
        return await _list(gateway, request, token, delivery)
    return await _shown(gateway, request, await _visit(gateway, request, token, _leading(token)))


@router.get("/{token}/{delivery_id}")
async def show_one(token: str, delivery_id: str, request: Request, gateway: Gateway) -> Response:
    """Show one of the requests that a digest stood for."""
    return await _shown(gateway, request, await _visit(gateway, request, token, delivery_id))


@router.get("/{token}/{delivery_id}/arguments")
async def argument(
    token: str, delivery_id: str, request: Request, gateway: Gateway, at: str = ""
) -> Response:
    """Return all of an argument that the page shows in part, by its JSON pointer."""
    visit = await _visit(gateway, request, token, delivery_id)
    return whole(visit, at) or no_such_link(gateway, request)


@router.post("/{token}")
async def decide(token: str, request: Request, gateway: Gateway) -> Response:
    """Take the reviewer's response, then show the page as it now is."""
    return await _decided(gateway, request, token, _leading(token))


@router.post("/{token}/{delivery_id}")
async def decide_one(token: str, delivery_id: str, request: Request, gateway: Gateway) -> Response:
    """The same for one of the requests that a digest stood for."""
    return await _decided(gateway, request, token, delivery_id)


@router.post("/{token}/{delivery_id}/views")
async def view(token: str, delivery_id: str, request: Request, gateway: Gateway) -> Response:
    """Note that the page has been looked at; its script says so (see `requests.view`)."""
    visit = await _visit(gateway, request, token, delivery_id)
    if visit is None or not comes_from_us(request, gateway.settings):
        return no_such_link(gateway, request)
    try:
        shown_by(gateway, await request.form(), visit.holder, visit.approval.id)
    except ValueError:
        return Response(status_code=422, headers=HEADERS)
    await seen(gateway, visit)
    return Response(status_code=204, headers=HEADERS)


async def _decided(gateway: Parts, request: Request, token: str, delivery_id: str) -> Response:
    visit = await _visit(gateway, request, token, delivery_id)
    if visit is None:
        return no_such_link(gateway, request)
    if not comes_from_us(request, gateway.settings):
        words = "Answer from this page itself."
        return await request_page(gateway, request, visit, problem=words, status=403)
    return await answered(
        gateway, request, visit, lambda: _visit(gateway, request, token, delivery_id)
    )


def _leading(token: str) -> str:
    """Return the delivery with which a link came."""
    return f"dlv_{token.partition('.')[0]}"


async def _delivery(gateway: Parts, token: str, delivery_id: str) -> Delivery | None:
    """Return a delivery that a link came with, or None if there is no such link."""
    if not is_id(delivery_id, "dlv"):
        return None
    delivery = await gateway.store.get(delivery_id, Delivery)
    if delivery is None or token_hash(token) not in delivery.token_hashes:
        return None
    return delivery


async def _visit(gateway: Parts, request: Request, token: str, delivery_id: str) -> Visit | None:
    """Return whose link this is and what it is about, or None if there is no such link."""
    delivery = await _delivery(gateway, token, delivery_id)
    if delivery is None:
        return None
    reviewer = gateway.directory.get(delivery.reviewer_id or "")
    now, (asked,) = await gateway.store.load([delivery.source_id])
    if reviewer is None or not isinstance(asked, Approval):
        return None
    # By now: people come and go.
    if not reader_of(gateway, reviewer, now).may_answer(asked):
        return None
    return Visit(
        approval=asked,
        reviewer=reviewer,
        now=now,
        path=f"/review/{token}/{delivery_id}",
        session=await session_of(gateway, request),
        delivery=delivery,
        link=token_hash(token),
    )


class _Row(NamedTuple):
    """One of the requests of a digest."""

    path: str
    asked: Approval
    headline: Headline
    fate: str


async def _list(gateway: Parts, request: Request, token: str, leader: Delivery) -> Response:
    """Show what a digest stood for: what waits first, the most pressing first."""
    reviewer = gateway.directory.get(leader.reviewer_id or "")
    if reviewer is None:
        return no_such_link(gateway, request)
    ids = await gateway.store.listed(parcel_index(leader.id), limit=MAX_LISTED)
    now, loaded = await gateway.store.load(ids)
    wanted = token_hash(token)
    members = [d for d in loaded if isinstance(d, Delivery) and wanted in d.token_hashes]
    _, sources = await gateway.store.load([member.source_id for member in members])
    reader = reader_of(gateway, reviewer, now)
    rows = [
        _Row(f"/review/{token}/{member.id}", asked, headline(asked), _fate(gateway, asked))
        for member, asked in zip(members, sources, strict=True)
        if isinstance(asked, Approval) and reader.may_answer(asked)
    ]
    rows.sort(key=lambda row: _pressing(row.asked))
    waiting = sum(1 for row in rows if not row.asked.status.is_final)
    shown = {"reviewer": reviewer, "rows": rows, "waiting": waiting, "zone": reviewer.zone}
    return page(gateway, request, "console/request_list.html", shown)


def _pressing(asked: Approval) -> tuple[bool, int, float]:
    return asked.status.is_final, -asked.severity.rank, asked.expires_at.timestamp()


def _fate(gateway: Parts, asked: Approval) -> str:
    """Return how it ended, empty while it waits."""
    if asked.outcome is None:
        return ""
    outcome = asked.outcome
    return ending(gateway, outcome.status, outcome.decided_by, outcome.decided_for)


async def _shown(gateway: Parts, request: Request, visit: Visit | None) -> Response:
    return await request_page(gateway, request, visit) if visit else no_such_link(gateway, request)


def no_such_link(gateway: Parts, request: Request) -> Response:
    """Return the page for a link that leads nowhere; it says nothing of where it may have led."""
    return page(gateway, request, "console/request_unknown.html", {"by_link": True}, status=404)
