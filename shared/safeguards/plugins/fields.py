"""Arguments by their names: which of an action's arguments is its amount, which its recipient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from safeguards.plugins.arguments import walk
from safeguards.plugins.names import compact_name

AMOUNTS = (
    "amount",
    "amt",
    "total",
    "sum",
    "price",
    "value",
    "cost",
    "unit_price",
    "price_per_unit",
    "limit_price",
    "total_amount",
    "total_price",
    "amount_total",
    "payment_amount",
    "transfer_amount",
    "transaction_amount",
    "amount_usd",
    "amount_eur",
    "amount_gbp",
)
"""What the argument with the amount of money is usually called."""

TOTALS = ("total", "sum", "total_amount", "total_price", "amount_total")
"""Of those, what is no amount of one of several."""

QUANTITIES = (
    "quantity",
    "qty",
    "count",
    "units",
    "shares",
    "number_of_units",
    "number_of_shares",
    "number_of_payments",
    "times",
    "repetitions",
    "occurrences",
    "installments",
)
"""What the argument with how many are bought, or how often is paid, is usually called."""

CURRENCIES = ("currency", "currency_code", "amount_currency", "payment_currency")
"""What the argument with the currency is usually called."""

PAYEES = (
    "recipient",
    "recipients",
    "recipient_id",
    "recipient_name",
    "recipient_iban",
    "recipient_account",
    "recipient_acct",
    "recipient_account_number",
    "recipient_email",
    "payee",
    "payee_id",
    "payee_name",
    "payee_account",
    "payee_acct",
    "beneficiary",
    "beneficiary_name",
    "beneficiary_account",
    "beneficiary_iban",
    "creditor",
    "merchant",
    "merchant_id",
    "vendor",
    "vendor_id",
    "supplier",
    "to",
    "to_account",
    "to_acct",
    "to_account_id",
    "to_account_number",
    "to_address",
    "to_iban",
    "to_user",
    "to_wallet",
    "destination",
    "dest_account",
    "dest_acct",
    "dest_iban",
    "destination_account",
    "destination_address",
    "destination_iban",
    "target_account",
    "receiver",
    "receiver_id",
    "receiver_account",
    "counterparty",
    "iban",
    "wallet_address",
)
"""What the argument with whoever is paid is usually called."""

ACCOUNTS = (
    "account",
    "account_id",
    "account_number",
    "from",
    "from_account",
    "from_account_id",
    "from_account_number",
    "from_iban",
    "from_wallet",
    "source",
    "source_account",
    "source_account_id",
    "debit_account",
    "payer",
    "payer_account",
)
"""What the argument with the account that pays is usually called."""

RECIPIENTS = (
    *PAYEES,
    "cc",
    "bcc",
    "to_email",
    "to_emails",
    "to_addresses",
    "to_recipients",
    "cc_recipients",
    "bcc_recipients",
    "to_number",
    "to_numbers",
    "to_phone",
    "email",
    "emails",
    "email_address",
    "email_addresses",
    "user_email",
    "user_emails",
    "recipient_emails",
    "recipient_address",
    "recipient_addresses",
    "phone",
    "phone_number",
    "phone_numbers",
    "recipient_phone",
    "recipient_number",
    "recipient_numbers",
    "participants",
    "participant",
    "attendees",
    "attendee",
    "attendee_emails",
    "guests",
    "invitee",
    "invitees",
    "invited_user",
    "share_with",
    "shared_with",
    "collaborator",
    "collaborators",
    "grantee",
    "forward_to",
    "reply_to",
)
"""What the argument with whoever gets something is usually called."""


class Place(NamedTuple):
    """An argument that was found by its name.

    Attributes:
        pointer: where it stands, a JSON pointer (RFC 6901).
        value: what stands there; never None.
    """

    pointer: str
    value: Any

    @property
    def parent(self) -> str:
        """The JSON pointer of what it stands in."""
        return self.pointer.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The last step to it, in the spelling in which names are compared."""
        return compact_name(self.pointer.rpartition("/")[2])


def is_empty(value: Any) -> bool:
    """Tell whether an argument is without a value: None, an empty text, list or object."""
    return value is None or value in ("", [], {})


class Fields:
    """Finds arguments by their names, at any depth, in whatever spelling: `toAccount` is
    `to_account`.

    Args:
        names: the names of each kind of argument, such as `amount=("amount", "total")`.
    """

    def __init__(self, **names: Iterable[str]) -> None:
        self._kinds = tuple(names)
        self._kinds_of: dict[str, tuple[str, ...]] = {}
        for kind, spelled in names.items():
            for name in {compact_name(name) for name in spelled}:
                self._kinds_of[name] = (*self._kinds_of.get(name, ()), kind)

    def find(self, context: dict[str, Any]) -> dict[str, list[Place]]:
        """Return the places of each kind. An argument that `is_empty` is as good as none.

        Raises:
            TooMuchError: the arguments are too deep, or too many.
        """
        found: dict[str, list[Place]] = {kind: [] for kind in self._kinds}
        for pointer, key, value in walk(context):
            kinds = self._kinds_of.get(compact_name(key)) if key else None
            if kinds and not is_empty(value):
                for kind in kinds:
                    found[kind].append(Place(pointer, value))
        return found
