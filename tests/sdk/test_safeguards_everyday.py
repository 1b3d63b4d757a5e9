"""What all built-in safeguards share: quiet on ordinary days, bounded and discreet on bad ones."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeguards.errors import ConfigurationError, MissingExtraError
from safeguards.plugins import BUILT_IN
from tests.sdk.everyday_actions import ACTIONS
from tests.sdk.judging import judged

NAMES = ("secrets", "personal_data", "destructive", "external_recipients", "credentials")
CONFIGS: dict[str, dict[str, Any]] = {"external_recipients": {"own_domains": ["example.com"]}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("action_type", "context"), ACTIONS)
def test_an_everyday_action_is_no_alert(
    name: str, action_type: str, context: dict[str, Any]
) -> None:
    """People are not asked about what they would wave through."""
    assert judged(name, action_type, context, CONFIGS.get(name)) == []


def deep(levels: int) -> dict[str, Any]:
    """Arguments inside of arguments."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"to": value}
    return value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "context",
    [deep(40), {"rows": [0] * 20_000}, {"rows": ["x" * 200_000, "y" * 200_000]}],
    ids=["deep", "many", "long"],
)
def test_what_cannot_be_searched_is_asked_about(name: str, context: dict[str, Any]) -> None:
    """A search is bounded, and what was not searched is not passed."""
    alerts = judged(name, "update_document", context, CONFIGS.get(name))
    if name == "credentials" and "rows" in context and len(context["rows"]) == 2:
        assert alerts == []  # it reads names and short words, however long the texts are
        return
    assert [alert.title for alert in alerts] == ["Action cannot be searched"]


@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_arguments_are_searched(name: str) -> None:
    """Many arguments are no trouble, and hide nothing among them."""
    context: dict[str, Any] = {f"argument_{n}": f"value {n}" for n in range(999)}
    assert judged(name, "update_document", context, CONFIGS.get(name)) == []
    context |= {
        "password": "Tr0ub4dor",
        "card": "4111 1111 1111 1111",
        "to": "mallory@elsewhere.net",
        "overwrite": True,
    }
    assert judged(name, "update_document", context, CONFIGS.get(name))


HOSTILE = {
    "spaces": " " * 250_000,
    "one word": "a" * 250_000,
    "one number": "1" * 250_000,
    "cards": "4111 1111 1111 1112 " * 12_000,
    "social security numbers": "000-12-3456 " * 20_000,
    "at signs": "a@" * 120_000,
    "points": "a." * 120_000,
    "comments": "/*" * 120_000,
    "tables": "alter table " * 20_000,
    "updates": "update a " * 27_000,
    "deletes": "delete from t;" * 17_000,
    "brackets": "select " + "(" * 240_000,
    "nested": "delete from t where " + "(" * 3000 + "a = 1" + ")" * 3000,
    "removals": "rm " * 80_000,
    "pushes": "git push " * 27_000,
    "passwords": "password: " * 25_000,
    "schemes": "https://" * 31_000,
    "invisible": "\u200b" * 250_000,
    "wide": "\uff41" * 250_000,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.timeout(60)
def test_a_text_made_to_be_slow_is_judged_all_the_same(name: str, text: str) -> None:
    """In every argument that is read closely. What grew with the square of it would not end."""
    for field in ("sql", "command", "to", "url", "ssn"):
        judged(name, "run", {field: text}, CONFIGS.get(name))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=15,
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(
    action_type=st.text(max_size=40),
    context=st.dictionaries(
        st.text(max_size=20) | st.sampled_from(["to", "sql", "url", "role", "password"]), _JSON
    ),
)
def test_whatever_is_judged_is_judged_without_an_error(
    name: str, action_type: str, context: dict[str, Any]
) -> None:
    """And the alerts can be carried: short, and of JSON."""
    for alert in judged(name, action_type, context, CONFIGS.get(name)):
        assert 2 <= len(alert.title.split()) <= 5
        assert len(alert.description) < 1000
        assert alert.description.isprintable()
        json.dumps(alert.metadata)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("secrets", {"fields": ["x"]}, "the key 'fields' is unknown"),
        ("personal_data", {"kinds": ["shoe_size"]}, "the key 'kinds.0' is wrong"),
        ("destructive", {"at_most": -1}, "the key 'at_most' is wrong"),
        ("external_recipients", {"own_domain": ["x"]}, "did you mean 'own_domains'?"),
        ("credentials", {"x": 1}, "has no configuration: remove 'x'"),
    ],
)
def test_a_wrong_configuration_is_named(name: str, config: dict[str, Any], said: str) -> None:
    """The error says which key, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        BUILT_IN[name]().initialize(config)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("secrets", "kingfisher_sdk"),
        ("personal_data", "stdnum.luhn"),
        ("destructive", "sqlglot"),
    ],
)
def test_a_missing_library_names_the_extra(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the safeguard is initialized, not when the first action comes."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"safeguards\[detection\]"):
        BUILT_IN[name]().initialize({})
