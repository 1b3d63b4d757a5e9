"""What a form answers: sealed into it, so that an answer binds to what its page has shown."""

from __future__ import annotations

from typing import Any, NamedTuple

from itsdangerous import BadData
from starlette.datastructures import FormData

from safeguards.canonical import digest
from services.gateway.parts import Parts

SEAL_SECONDS = 24 * 3600
"""How long a page can be answered after it was shown; it need only be opened anew."""

AGAIN = "This form has expired, or was not all sent. Here it is again: please answer once more."


class Shown(NamedTuple):
    """What a page showed, and to whom.

    Attributes:
        holder: the session or the link that it was shown to.
        approval_id: the request.
        version: of the request.
        digest: of all that was shown of it.
        changes: digest of the changes that were shown before they are sent; empty if none were.
    """

    holder: str
    approval_id: str
    version: int
    digest: str
    changes: str = ""

    def sealed(self, gateway: Parts) -> str:
        """Return it as a form carries it."""
        return str(gateway.seals.dumps(list(self)))


def shown_by(gateway: Parts, form: FormData, holder: str, approval_id: str) -> Shown:
    """Return what the page of a form showed.

    Raises:
        ValueError: the form is none that was made for this holder and this request.
    """
    try:
        shown = Shown(*gateway.seals.loads(str(form.get("seal", "")), SEAL_SECONDS))
    except (BadData, ValueError, TypeError) as error:
        raise ValueError(AGAIN) from error
    if (shown.holder, shown.approval_id) != (holder, approval_id):
        raise ValueError(AGAIN)
    return shown


def changes_digest(changes: dict[str, Any]) -> str:
    """Return what stands in a seal for changes that were shown."""
    return digest(changes)
