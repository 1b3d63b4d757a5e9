"""Everything that Safeguards raises on purpose.

SafeguardsError
├── ConfigurationError            a setting, key or argument is wrong; says which and what to do
│   └── MissingExtraError         an optional dependency is not installed; names the extra
├── InvalidContentError           an action's content cannot be carried (NaN, too deep, too large)
├── GatewayUnreachableError       the gateway did not answer; the request may be sent again
├── ProblemError                  the gateway refused, with a problem document (RFC 9457)
│   ├── InvalidRequestError       400, 413, 415, 422
│   ├── AuthenticationError       401
│   ├── PermissionDeniedError     403
│   ├── NotFoundError             404
│   └── ConflictError             409
├── SignatureError                a callback or publication does not carry a valid signature
├── OutcomePendingError           a wait ended before the outcome; the approval is still open
├── DigestMismatchError           the arguments are not those that were approved
├── NotApprovedError              the decorated function may not run; carries the outcome
└── DeliveryError                 a channel could not send
    ├── TransientDeliveryError    worth another attempt; may say after how many seconds
    └── PermanentDeliveryError    another attempt would fail the same way
        └── ReceiverGoneError     and so would every other message to this receiver
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safeguards.contracts import Outcome


class SafeguardsError(Exception):
    """Base of every error that Safeguards raises on purpose."""


class ConfigurationError(SafeguardsError):
    """A setting, key or argument is wrong. The message says which, and what to do."""


class MissingExtraError(ConfigurationError):
    """A part needs an optional dependency that is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs an extra: pip install 'safeguards[{extra}]'")
        self.extra = extra


class InvalidContentError(SafeguardsError, ValueError):
    """The content of an action cannot be carried; `pointer` (RFC 6901) says where."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(f"{message} (at {pointer or 'the top'})")
        self.pointer = pointer


class GatewayUnreachableError(SafeguardsError):
    """The gateway did not answer in time. Requests are idempotent and may be sent again."""


class ProblemError(SafeguardsError):
    """The gateway refused a request.

    Attributes:
        status: the HTTP status code.
        problem: the problem document (RFC 9457 section 3), with its extension members.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        detail = problem.get("detail") or problem.get("title") or "the gateway gave no reason"
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.problem = problem


class InvalidRequestError(ProblemError):
    """400, 413, 415 or 422: the request itself is wrong."""


class AuthenticationError(ProblemError):
    """401: the API key is missing, unknown or revoked."""


class PermissionDeniedError(ProblemError):
    """403: the API key is valid but may not do this."""


class NotFoundError(ProblemError):
    """404: there is nothing under this identifier that this key may see."""


class ConflictError(ProblemError):
    """409: the record has moved on; the problem document says how."""


class SignatureError(SafeguardsError):
    """A callback or a publication does not carry a valid signature."""


class OutcomePendingError(SafeguardsError, TimeoutError):
    """A wait ended before the outcome was known. The approval is still open: wait again."""


class DigestMismatchError(SafeguardsError):
    """The arguments at hand are not those that a person saw and approved."""


class NotApprovedError(SafeguardsError):
    """A function under `require_approval` may not run.

    Attributes:
        outcome: how the question ended: status, comments, who decided.
    """

    def __init__(self, outcome: Outcome) -> None:
        why = f": {outcome.comments}" if outcome.comments else ""
        super().__init__(f"{outcome.status.value}{why}")
        self.outcome = outcome


class DeliveryError(SafeguardsError):
    """A channel could not send a message."""


class TransientDeliveryError(DeliveryError):
    """Worth another attempt.

    Attributes:
        retry_after_seconds: what the receiver asked for, or None.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentDeliveryError(DeliveryError):
    """Another attempt would fail in the same way."""


class ReceiverGoneError(PermanentDeliveryError):
    """The receiver wants nothing any more (410, or the like): what leads to it is switched off."""
