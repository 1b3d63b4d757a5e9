"""What `sentinel://…` says, and what is wrong with it."""

from __future__ import annotations

import pytest

from safeguards.errors import ConfigurationError
from safeguards.sentinel import SentinelUrl
from safeguards_runtime.settings import load_settings


def test_what_a_url_says() -> None:
    told = SentinelUrl.parse(
        "sentinel://user:p%40ss@one,two:26380/3?master=store&sentinel_password=s%2Fecret"
    )
    assert told.hosts == (("one", 26379), ("two", 26380))
    assert (told.master, told.database) == ("store", 3)
    assert (told.username, told.password, told.sentinel_password) == ("user", "p@ss", "s/ecret")
    assert "p@ss" not in repr(told)
    assert "s/ecret" not in repr(told)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("sentinel://:hidden@one:26379/0", "which master"),
        ("sentinel://:hidden@one:port/0?master=store", "'one' is no port"),
        ("sentinel://:hidden@one,/0?master=store", "host of a sentinel is missing"),
        ("sentinel://:hidden@one/zero?master=store", "'zero' is no number"),
        ("sentinel://:hidden@one/0?master=store&mister=x", "no option 'mister'"),
    ],
)
@pytest.mark.parametrize("setting", ["SAFEGUARDS_STORE_URL", "SAFEGUARDS_BROKER_URL"])
def test_a_wrong_url_is_refused_with_the_reason(
    url: str, wrong: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the setting and says what is wrong, and keeps the password to itself."""
    monkeypatch.setenv(setting, url)
    with pytest.raises(ConfigurationError, match=f"{setting}.*{wrong}") as caught:
        load_settings()
    assert "hidden" not in str(caught.value)
