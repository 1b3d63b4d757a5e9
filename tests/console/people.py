"""Who is asked in the tests of the console, and on what terms."""

from __future__ import annotations

from typing import Any


def _person(name: str, *groups: str, roles: tuple[str, ...] = ("reviewer",)) -> dict[str, Any]:
    return {
        "id": name,
        "name": name.capitalize(),
        "email": f"{name}@example.com",
        "groups": list(groups),
        "roles": list(roles),
        "time_zone": "Europe/Berlin",
    }


REVIEWERS: dict[str, Any] = {
    "version": 1,
    "reviewers": [
        _person("alex", "reviewers", roles=("reviewer", "operator", "admin")),
        _person("sam", "reviewers"),
        _person("kim", "reviewers"),
        _person("robin", "others"),
        _person("olga", roles=("operator",)),
        # Whoever tests signing in and out does it as Nora, and ends nobody else's session.
        _person("nora", "others"),
        # Nobody ever asks Vera anything.
        _person("vera", "quiet"),
    ],
}
"""Alex may do everything; Sam and Kim review with Alex, Robin what the others are asked; Olga looks
after the system and may answer nothing."""

_LONG = {"timeout_seconds": 4 * 3600, "groups": ["reviewers"], "channels": ["email"]}

APPROVALS: dict[str, dict[str, Any]] = {
    "newsletter": {**_LONG, "editable": ["subject", "recipients"]},
    "purchase": {**_LONG, "editable": ["amount", "description"]},
    "deploy": {**_LONG, "editable": []},
    "wire_out": {**_LONG, "quorum": 2, "editable": ["amount"]},
    "contract": {**_LONG, "four_eyes": True, "editable": ["*"]},
    "takeover": {**_LONG, "quorum": 2, "four_eyes": True, "editable": ["*"]},
    "errand": {**_LONG, "groups": ["others"], "editable": ["*"]},
    "payout": {
        **_LONG,
        "editable": {
            "amount": {"at_most": "asked", "at_least": "1.00"},
            "account": {"one_of": ["Main account", "Reserve"]},
            "purpose": {"max_length": 40},
        },
    },
    "release": {**_LONG, "answer_by": ["console", "api"]},
    "verdict": {**_LONG, "answer_by": ["slack", "api"], "editable": ["*"]},
    "hurry": {**_LONG, "timeout_seconds": 20, "on_timeout": "approve", "editable": ["*"]},
}
"""Ways of asking, each for the type of action of its name: nothing may be changed of `deploy`; two
must approve of `wire_out`; of a `contract` that was changed, another must approve; a `takeover`
needs both; an `errand` is for the others; what is in a `hurry` goes ahead unless somebody objects;
of a `payout` everything may be changed within limits; a `release` is answered in the console, a
`verdict` in Slack.
"""

RULES: dict[str, Any] = {
    "safeguards": {
        "expenses": {"uses": "financial_services", "config": {"transaction_limits": {"*": "1000"}}},
        "erasing": {
            "uses": "financial_services",
            "config": {"restricted_actions": ["erase_archive"]},
        },
    },
    "policies": [
        {
            "name": "expenses",
            "match": {"action_types": ["book_*"]},
            "safeguards": ["expenses"],
            "verdict": "require_approval",
            "approval": "purchase",
        },
        {
            "name": "big-payouts",
            "reason": "More than 1,000.00 leaves us at once.",
            "match": {"action_types": ["payout"]},
            "verdict": "require_approval",
            "approval": "payout",
        },
        {
            "name": "erasing",
            "match": {"action_types": ["erase_*"]},
            "safeguards": ["erasing"],
            "verdicts": {
                "INFO": "notify",
                "WARNING": "require_approval",
                "ERROR": "require_approval",
                "CRITICAL": "require_approval",
            },
            "approval": "purchase",
        },
    ],
}
"""`book_…` is of medium risk up to 1000 and of high risk above; `erase_archive` is critical."""
