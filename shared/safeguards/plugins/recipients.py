"""Reading from an action's arguments everybody who gets something."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from safeguards.plugins.arguments import TooMuchError
from safeguards.plugins.fields import Fields
from safeguards.plugins.payees import MAX_PAYEES, UnreadableError, named_in
from safeguards.plugins.payments import shown_pointer


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who gets something.

    Attributes:
        named: each name of each of them, as it is written, with the JSON pointer (RFC 6901) of the
            argument that it stands in; none if they are too many.
        problems: a title and a sentence for each thing that cannot be read.
    """

    named: tuple[tuple[str, str], ...]
    problems: tuple[tuple[str, str], ...] = ()


class RecipientReader:
    """Reads recipients.

    Args:
        names: the names of the arguments that they stand in, in any spelling.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._fields = Fields(recipient=names)

    def read(self, context: dict[str, Any]) -> Recipients:
        """Return everybody who gets something, with what cannot be read of them."""
        try:
            places = self._fields.find(context)["recipient"]
        except TooMuchError:
            story = "The arguments are too many, or too deep."
            return Recipients((), (("Arguments cannot be searched", story),))
        named: dict[str, str] = {}
        problems = []
        for place in places:
            try:
                parties = named_in(place)
            except UnreadableError:
                story = f"Who is meant at {shown_pointer(place)} cannot be read."
                problems.append(("Recipient cannot be read", story))
                continue
            for party in parties:
                for name in party:
                    named.setdefault(name, place.pointer)
            if len(named) > MAX_PAYEES:
                story = f"There are more than {MAX_PAYEES} recipients: too many to judge."
                return Recipients((), (*problems, ("Too many recipients", story)))
        return Recipients(
            tuple((pointer, name) for name, pointer in named.items()), tuple(problems)
        )
