"""Calls of Slack's Web API, each made once; what failed is told apart as transient or permanent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from safeguards.background_loop import PerLoop
from safeguards.errors import PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications.fenced_http import retry_after_seconds
from safeguards.text import visible

if TYPE_CHECKING:
    import aiohttp
    from slack_sdk.errors import SlackApiError
    from slack_sdk.web.async_client import AsyncWebClient

# Its own logger would format every request, which costs time, for a log at the level DEBUG.
_LOGGER = logging.getLogger("safeguards.notifications.slack_api")
_LOGGER.setLevel(logging.WARNING)

_TRANSIENT = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "external_channel_migrating",
    }
)

_TOKEN = "make a new bot token for the app, and set 'bot_token' to it"  # noqa: S105
_WHAT_TO_DO = {
    "channel_not_found": "correct 'channel', or invite the bot to it if it is private",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "unarchive the channel, or name another in 'channel'",
    "user_not_found": "correct the reviewer's 'slack_user'",
    "user_disabled": "this person has left the workspace: correct the reviewer's 'slack_user'",
    "cannot_dm_bot": "the reviewer's 'slack_user' is a bot: name a person",
    "messages_tab_disabled": "switch on the Messages tab in the app's settings (App Home)",
    "restricted_action": "the workspace does not let the app post there: ask its owner",
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "account_inactive": _TOKEN,
    "token_revoked": _TOKEN,
    "token_expired": _TOKEN,
    "org_login_required": _TOKEN,
    "missing_scope": "add the scope to the app, and install it again",
    "message_not_found": "the message is gone",
    "cant_update_message": "the message is not the bot's own",
    "edit_window_closed": "the workspace does not let messages be changed so late",
    "expired_trigger_id": "it took longer than three seconds",
}


class SlackRefusedError(PermanentDeliveryError):
    """Slack understood the call and refuses it.

    Attributes:
        code: Slack's word for why, such as `channel_not_found`.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class SlackApi:
    """Slack's Web API as one bot, by one session for each event loop.

    Args:
        token: the bot's.
        url: of the API, with a `/` at its end.
        timeout_seconds: for one call.
    """

    def __init__(self, token: str, url: str, timeout_seconds: float) -> None:
        self._token = token
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._clients = PerLoop(self._new_client, _close)

    async def call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a method once, with JSON; return the answer.

        Raises:
            TransientDeliveryError: 429 with what `Retry-After` asks for, 5xx, a time-out, a broken
                connection, or an answer that is not Slack's.
            SlackRefusedError: any other error; says what to do about it.
        """
        import aiohttp
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            answer = await self._clients.get().api_call(method, json=arguments)
            data = answer.data
        except SlackApiError as error:
            # Not as its cause: an error of the client holds the request, and with it the token.
            failure: Exception = _failure(method, error)
        except TimeoutError:
            failure = TransientDeliveryError(
                f"no answer from Slack within {self._timeout_seconds:g} s"
            )
        except (aiohttp.ClientError, OSError) as error:
            failure = TransientDeliveryError(f"no connection to Slack: {type(error).__name__}")
        except (SlackClientError, ValueError, TypeError, AttributeError):
            failure = TransientDeliveryError("answered with something that is not Slack's")
        else:
            if isinstance(data, dict):
                return data
            failure = TransientDeliveryError("answered with something that is not Slack's")
        raise failure

    async def aclose(self) -> None:
        """Close the running event loop's session."""
        await self._clients.aclose()

    def close_all(self) -> None:
        """Close every event loop's session, from any thread."""
        self._clients.close_all()

    def _new_client(self) -> AsyncWebClient:
        import aiohttp
        from slack_sdk.web.async_client import AsyncWebClient

        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        client = AsyncWebClient(
            self._token,
            base_url=self._url,
            session=session,
            trust_env_in_session=False,
            logger=_LOGGER,
            # Whoever calls owns the retries.
            retry_handlers=[],
        )
        # It takes one from the environment, whatever it is told.
        client.proxy = None
        return client


async def _close(client: AsyncWebClient) -> None:
    session: aiohttp.ClientSession | None = client.session
    if session is not None:
        await session.close()


def _failure(method: str, error: SlackApiError) -> Exception:
    """Return what an answer other than `ok` means."""
    response: Any = error.response
    # Where the answer is no JSON, it is the HTTP client's own.
    status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0)
    data = getattr(response, "data", None)
    data = data if isinstance(data, dict) else {}
    code = visible(str(data.get("error", "")), single_line=True, limit=80)
    headers = {name.lower(): value for name, value in (response.headers or {}).items()}
    wait = retry_after_seconds(headers.get("retry-after"))
    if status == 429 or status >= 500 or code in _TRANSIENT:
        return TransientDeliveryError(f"Slack answered {status} {code}".rstrip(), wait)
    if not code:
        return TransientDeliveryError(f"answered {status}, with something that is not Slack's")
    words = f"Slack refuses {method}: {code}"
    if code == "missing_scope":
        words += f" {visible(str(data.get('needed', '')), single_line=True, limit=80)}"
    if code in _WHAT_TO_DO:
        words += f": {_WHAT_TO_DO[code]}"
    return SlackRefusedError(words, code)
