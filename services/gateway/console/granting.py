"""Giving a permission for more of the same with an approval: what the form offers, and reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safeguards.text import visible
from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval, grant
from safeguards_runtime.records.bounds import BoundRule, offers
from safeguards_runtime.records.grant import DURATIONS, MAX_USES, GrantWish
from safeguards_runtime.reviewers import Reviewer
from services.gateway.typed_text import text_of

LASTS = "grant_lasts"
USES = "grant_uses"
RULE = "grant_rule_"
"""With the position of the argument: its name may hold what a form cannot give back."""

DEFAULT_USES = "10"
SUGGESTED_AFTER = 5
"""So many like requests in a row that were approved unchanged suggest a permission."""

MAX_ARGUMENTS = 300
"""Of a request with more nobody sees through what a permission would let through."""

NAME_LIMIT = 80
VALUE_LIMIT = 200

RULES: tuple[BoundRule, ...] = ("equal", "at_most", "any")


@dataclass(frozen=True)
class Choice:
    """One argument for which the form has a choice.

    Attributes:
        field: the form's name for it.
        name: of the argument; visible.
        value: what it was approved with; visible.
        rules: what may be chosen, the default first.
        chosen: what is.
    """

    field: str
    name: str
    value: str
    rules: tuple[BoundRule, ...]
    chosen: str


@dataclass(frozen=True)
class GrantForm:
    """What the form offers.

    Attributes:
        lasts: which of `durations` is chosen; empty for none.
        uses: what is typed.
        choices: the arguments that may be something else.
        fixed: the names of those that stay the same; visible.
        is_open: whether it stands open.
        is_suggested: whether the last like requests were all approved unchanged.
    """

    lasts: str
    uses: str
    choices: tuple[Choice, ...]
    fixed: tuple[str, ...]
    is_open: bool
    is_suggested: bool
    durations: tuple[str, ...] = tuple(DURATIONS)
    max_uses: int = MAX_USES
    suggested_after: int = SUGGESTED_AFTER


def grant_form(
    asked: Approval, reviewer: Reviewer, likes: Sequence[Approval], form: Mapping[str, Any]
) -> GrantForm | None:
    """Return what the form offers a reviewer; None where no permission may be given.

    Args:
        asked: the request.
        reviewer: who looks at it.
        likes: what was asked before by the same agent, of the same type, latest first.
        form: what was typed, if it comes back.
    """
    if grant.not_grantable(asked) is not None or not reviewer.groups & set(asked.terms.groups):
        return None
    if len(asked.shown_context) > MAX_ARGUMENTS:
        return None
    offered = offers(asked.shown_context)
    choices = tuple(
        Choice(
            field=f"{RULE}{position}",
            name=visible(offer.name, single_line=True, limit=NAME_LIMIT),
            value=visible(text_of(offer.value), single_line=True, limit=VALUE_LIMIT),
            rules=offer.rules,
            chosen=_chosen(form, position) or offer.rules[0],
        )
        for position, offer in enumerate(offered)
        if len(offer.rules) > 1
    )
    lasts = str(form.get(LASTS, ""))
    return GrantForm(
        lasts=lasts if lasts in DURATIONS else "",
        uses=str(form.get(USES, DEFAULT_USES)),
        choices=choices,
        fixed=tuple(
            visible(offer.name, single_line=True, limit=NAME_LIMIT)
            for offer in offered
            if len(offer.rules) == 1
        ),
        is_open=bool(lasts),
        is_suggested=is_suggested(asked, likes),
    )


def is_suggested(asked: Approval, likes: Collection[Approval]) -> bool:
    """Tell whether people approved the last five like requests, each unchanged."""
    return len(likes) >= SUGGESTED_AFTER and all(
        like.status is ActionStatus.APPROVED
        and like.outcome is not None
        and like.outcome.decided_by != "nobody"
        and like.context.keys() == asked.context.keys()
        for like in likes
    )


def read_form(form: Mapping[str, Any], asked: Approval) -> GrantWish | None:
    """Return the permission that a form gives with its approval; None if it gives none.

    Args:
        form: what was sent, bound to the version of the request that it showed.
        asked: the request.

    Raises:
        ValueError: saying what is wrong with what was typed.
    """
    lasts = str(form.get(LASTS, ""))
    if not lasts or form.get("response") != "approve":
        return None
    if lasts not in DURATIONS:
        raise ValueError("Choose how long the permission holds.")
    uses = str(form.get(USES, "")).strip()
    if not (uses.isascii() and uses.isdigit() and 1 <= int(uses[:9]) <= MAX_USES):
        raise ValueError(f"How often the permission holds: a whole number from 1 to {MAX_USES:,}.")
    chosen: dict[str, BoundRule] = {}
    for position, offer in enumerate(offers(asked.shown_context)):
        rule = _chosen(form, position)
        if rule is not None:
            chosen[offer.name] = rule
    return GrantWish.model_validate({"lasts": lasts, "max_uses": int(uses), "rules": chosen})


def _chosen(form: Mapping[str, Any], position: int) -> BoundRule | None:
    """Return what a form chooses for an argument, offered or not: the rules refuse what is not."""
    sent = str(form.get(f"{RULE}{position}", ""))
    return next((rule for rule in RULES if rule == sent), None)
