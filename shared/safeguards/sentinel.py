"""`sentinel://…`: a store or a broker of which Redis Sentinel says where its master is.

    sentinel://[[user]:password@]host[:26379][,host[:26379]…][/database]?master=NAME

`user` and `password` are those of the servers; `&sentinel_password=…` that of the sentinels, where
they ask for one. What is not a letter, a digit or one of `-._~` is percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from safeguards.errors import ConfigurationError

SCHEME = "sentinel://"
PORT = 26379
SHAPE = "sentinel://:password@host:26379,host:26379/0?master=NAME"

ASKING: dict[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
"""How a sentinel is asked: briefly and once, since there are others."""


@dataclass(frozen=True)
class SentinelUrl:
    """What a `sentinel://` URL says."""

    hosts: tuple[tuple[str, int], ...]
    """The sentinels: host and port of each."""

    master: str
    database: int
    username: str | None
    password: str | None = field(repr=False)
    sentinel_password: str | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            ConfigurationError: saying what is wrong with it, without its passwords.
        """
        try:
            parts = urlsplit(url)
            userinfo, _, hosts = parts.netloc.rpartition("@")
            username, _, password = userinfo.partition(":")
            master, sentinel_password = _options(parts.query)
            return cls(
                hosts=tuple(_host(host) for host in hosts.split(",")),
                master=master,
                database=_database(parts.path),
                username=unquote(username) or None,
                password=unquote(password) or None,
                sentinel_password=sentinel_password,
            )
        except ValueError as error:
            raise ConfigurationError(f"{error}; it should look like {SHAPE}") from None

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """The arguments with which redis-py's clients of the sentinels are made."""
        password = {"password": self.sentinel_password} if self.sentinel_password else {}
        return {**ASKING, **password}


def for_kombu(url: str) -> tuple[str, dict[str, Any]]:
    """Return the URL and the transport options by which Kombu reaches a broker.

    Args:
        url: `sentinel://…` as above; any other is Kombu's own already.

    Raises:
        ConfigurationError: as `SentinelUrl.parse`.
    """
    if not url.startswith(SCHEME):
        return url, {}
    told = SentinelUrl.parse(url)
    login = f"{quote(told.username or '', safe='')}:{quote(told.password or '', safe='')}"
    user = "" if login == ":" else f"{login}@"
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in told.hosts]
    urls = [f"{SCHEME}{user}{host}/{told.database}" for host in hosts]
    return ";".join(urls), {"master_name": told.master, "sentinel_kwargs": told.sentinel_options}


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("the host of a sentinel is missing")
    try:
        return parts.hostname, parts.port or PORT
    except ValueError:
        raise ValueError(f"the port of the sentinel {parts.hostname!r} is no port") from None


def _database(path: str) -> int:
    text = path.strip("/") or "0"
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"the database {text!r} is no number")
    return int(text)


def _options(query: str) -> tuple[str, str | None]:
    """Return the master's name and the password of the sentinels."""
    options = dict(parse_qsl(query))
    master = options.pop("master", None)
    if master is None:
        raise ValueError("it does not say which master")
    sentinel_password = options.pop("sentinel_password", None)
    if options:
        raise ValueError(f"there is no option {', '.join(map(repr, options))}")
    return master, sentinel_password
