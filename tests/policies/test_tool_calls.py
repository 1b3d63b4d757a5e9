"""Tool calls as agents make them, with all ready-made policies on and no setting of one's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from safeguards_runtime.policy_book import PolicyBook
from services.safeguard_evaluator.trying_out import Asked, Desk, ready_made
from tests.policies.desk import HELD, PACKS

CALLS: dict[str, list[dict[str, dict[str, Any]]]] = yaml.safe_load(
    Path(__file__).with_name("tool_calls.yaml").read_text(encoding="utf-8")
)
AT_MOST_ASKED = 0.10
"""What share of what agents do every day may be asked about."""


@pytest.fixture(scope="module")
def everything() -> PolicyBook:
    return ready_made(*PACKS)


def calls(kind: str) -> list[Asked]:
    return [Asked(name, arguments) for call in CALLS[kind] for name, arguments in call.items()]


def held(asked: Asked, book: PolicyBook) -> bool:
    """Tell whether a call is held by somebody who has never allowed this agent anything."""
    return asyncio.run(Desk(book).judge(asked)).verdict in HELD


def test_there_are_enough_calls_to_tell() -> None:
    """A share of a few calls says nothing."""
    assert len(calls("everyday")) + len(calls("slipped_in")) >= 120


def test_whatever_was_slipped_in_is_held(everything: PolicyBook) -> None:
    """None of them runs before a person has looked at it."""
    missed = [call for call in calls("slipped_in") if not held(call, everything)]
    assert missed == []


def test_at_most_one_everyday_call_in_ten_is_asked_about(everything: PolicyBook) -> None:
    """Reading and harmless writing pass without a question."""
    everyday = calls("everyday")
    asked = [call.action_type for call in everyday if held(call, everything)]
    assert len(asked) / len(everyday) <= AT_MOST_ASKED, asked


def test_no_reading_is_asked_about(everything: PolicyBook) -> None:
    """What is asked about among them changes something."""
    asked = [call for call in calls("everyday") if held(call, everything)]
    assert {call.action_type for call in asked} <= {
        "send_money",
        "send_email",
        "create_calendar_event",
    }


@pytest.mark.parametrize("spell", [str.upper, str.title, lambda name: name.replace("_", "-")])
def test_another_spelling_of_the_name_slips_nothing_in(spell: Any, everything: PolicyBook) -> None:
    """Case and separators hide nothing."""
    missed = [
        call
        for one in calls("slipped_in")
        if not held(call := Asked(spell(one.action_type), one.context), everything)
    ]
    assert missed == []
