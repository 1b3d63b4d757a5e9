"""Reading from an action's arguments everybody who gets something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from safeguards.plugins.action_words import name_words
from safeguards.plugins.arguments import TooMuchError, walk
from safeguards.plugins.fields import Fields, Place
from safeguards.plugins.payees import (
    MAX_PAYEES,
    UnreadableError,
    are_too_many,
    is_address,
    named_in,
)
from safeguards.plugins.payments import shown_pointer

_OWN = frozenset({"from", "sender", "organizer", "organiser", "calendar", "google"})
"""Words in the name of an argument with an address that is one's own. A calendar is called by one;
`user_google_email` says whose account is used."""


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
        addresses: whether whoever's email address is all that an argument says is one of them too,
            whatever its name is.
    """

    def __init__(self, names: Iterable[str], *, addresses: bool = False) -> None:
        self._fields = Fields(recipient=names)
        self._addresses = addresses

    def read(self, context: dict[str, Any]) -> Recipients:
        """Return everybody who gets something, with what cannot be read of them."""
        try:
            places = self._fields.find(context)["recipient"]
            if self._addresses:
                places += _addresses(context)
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
            if are_too_many(parties) or len(named) > MAX_PAYEES:
                story = f"There are more than {MAX_PAYEES} recipients: too many to judge."
                return Recipients((), (*problems, ("Too many recipients", story)))
        return Recipients(
            tuple((pointer, name) for name, pointer in named.items()), tuple(problems)
        )


def _addresses(context: dict[str, Any]) -> Iterator[Place]:
    for pointer, _, value in walk(context):
        if isinstance(value, str) and is_address(value):
            names = (step for step in pointer.split("/") if not step.isdigit())
            if all(_OWN.isdisjoint(name_words(name)) for name in names):
                yield Place(pointer, value)
