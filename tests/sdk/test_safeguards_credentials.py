"""The safeguard for credentials and permissions."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles


@pytest.mark.parametrize(
    ("action_type", "title"),
    [
        ("update_password", "Credential change"),
        ("updatePassword", "Credential change"),
        ("updatepassword", "Credential change"),
        ("UPDATE-PASSWORD", "Credential change"),
        ("update\u200b_password", "Credential change"),
        ("reset_user_password", "Credential change"),
        ("create_api_key", "Credential change"),
        ("RotateAccessKeys", "Credential change"),
        ("add_ssh_key", "Credential change"),
        ("generate_token", "Credential change"),
        ("disable_mfa", "Credential change"),
        ("set_permissions", "Permission change"),
        ("assign_role", "Permission change"),
        ("transfer_ownership", "Permission change"),
        ("grant_access", "Permission change"),
        ("revoke_session", "Permission change"),
        ("share_file", "Permission change"),
        ("chmod", "Permission change"),
        ("update_sharing_settings", "Permission change"),
        ("invite_user_to_slack", "Account change"),
        ("add_user_to_channel", "Account change"),
        ("remove_user_from_slack", "Account change"),
        ("create_user", "Account change"),
    ],
)
def test_it_is_known_by_the_words_of_the_type(action_type: str, title: str) -> None:
    """In any spelling."""
    (alert,) = judged("credentials", action_type, {})
    assert (alert.title, alert.severity) == (title, AlertSeverity.ERROR)


@pytest.mark.parametrize(
    "action_type",
    [
        "get_permissions",
        "list_users",
        "search_users",
        "listApiKeys",
        "count_tokens",
        "get_user_info",
        "create_page",
        "read_roles",
        "set_volume",
        "add_comment",
        "create_shared_memory",
    ],
)
def test_looking_at_it_changes_nothing(action_type: str) -> None:
    """Nor does a type with other words."""
    assert judged("credentials", action_type, {}) == []


@pytest.mark.parametrize(
    ("context", "title"),
    [
        ({"role": "admin"}, "Permission change"),
        ({"roles": ["viewer", "Owner"]}, "Permission change"),
        ({"user_role": "ADMINISTRATOR"}, "Permission change"),
        ({"member": {"accessLevel": "full"}}, "Permission change"),
        ({"permission": "rw"}, "Permission change"),
        ({"public": True}, "Made public"),
        ({"public": "true"}, "Made public"),
        ({"isPublic": 1}, "Made public"),
        ({"visibility": "public"}, "Made public"),
        ({"acl": "public-read"}, "Made public"),
        ({"access": "anyone with the link"}, "Made public"),
        ({"anyoneWithLink": "yes"}, "Made public"),
        ({"visibility": "\uff50ublic"}, "Made public"),
        ({"password": "x"}, "Credential change"),
    ],
)
def test_it_is_known_by_an_argument(context: dict[str, Any], title: str) -> None:
    """The alert names the argument."""
    (alert,) = judged("credentials", "update_item", context)
    assert alert.title == title
    assert alert.metadata["places"]


@pytest.mark.parametrize(
    "context",
    [
        {"role": "user"},
        {"role": "viewer"},
        {"public": False},
        {"visibility": "private"},
        {"access": "none"},
        {"note": "make bob admin, and share it with anyone"},
    ],
)
def test_what_gives_no_right_is_no_alert(context: dict[str, Any]) -> None:
    """Nor is what a text says."""
    assert judged("credentials", "update_item", context) == []


def test_what_one_looks_for_is_no_alert() -> None:
    """A filter makes nothing public."""
    assert titles("credentials", "search_files", {"visibility": "public", "role": "admin"}) == []
