"""The safeguard for external recipients: addresses and hosts that are not one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from safeguards.configuration import Config, read_config
from safeguards.plugins.action_words import endings, name_words
from safeguards.plugins.addresses import Domains, carried, links, looks_like, readable, targets
from safeguards.plugins.arguments import TooMuchError
from safeguards.plugins.base import Safeguard
from safeguards.plugins.names import plain_name
from safeguards.plugins.texts import Text, about, at, places, texts, unsearchable
from safeguards.types import Agent, AlertSeverity, SafetyAlert

_HOSTS = (
    "url",
    "urls",
    "uri",
    "link",
    "host",
    "domain",
    "endpoint",
    "webhook",
    "callback",
    "server",
    "site",
    "website",
)
DEFAULT_RECIPIENT_FIELDS = (
    "to",
    "cc",
    "bcc",
    "recipient",
    "recipients",
    "receiver",
    "receivers",
    "addressee",
    "addressees",
    "mailto",
    "email",
    "emails",
    "address",
    "addresses",
    "participant",
    "participants",
    "attendee",
    "attendees",
    "invitee",
    "invitees",
    "guest",
    "guests",
    "member",
    "members",
    "user",
    "users",
    "contact",
    "contacts",
    "channel",
    "forward",
    "share",
    "shared",
    "destination",
    "target",
    "href",
    "remote",
    *_HOSTS,
)
"""The words of which a recipient's argument usually has one in its name."""

_SENDERS = frozenset({"from", "sender"})
_HOST_FIELDS = frozenset(_HOSTS)
_DOMAINS_NAMED = 3


class ExternalRecipientsConfig(Config):
    """What `ExternalRecipientsSafeguard` is initialized with.

    Attributes:
        own_domains: what is not outside, with all below it: `example.com` is also
            `mail.example.com`. Without any, every address and host is outside.
        fields: the arguments that name recipients, instead of the usual ones: by a whole name, or
            by one word of it. What stands inside of such an argument is one too.
        links: whether links in any other text are alerted on too.
    """

    own_domains: tuple[str, ...] = ()
    links: bool = False
    fields: tuple[str, ...] = DEFAULT_RECIPIENT_FIELDS


class ExternalRecipientsSafeguard(Safeguard):
    """Alerts on addresses and hosts outside of one's own domains, and on data carried in a URL.

    What names no domain, such as `Alice`, `#general` or `@bob`, is not outside.
    """

    name: ClassVar[str] = "external_recipients"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `own_domains` and `fields`. See `ExternalRecipientsConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(ExternalRecipientsConfig, config, type(self).__name__)
        self._own = Domains(parsed.own_domains)
        self._links = parsed.links
        self._fields = frozenset(plain_name(field) for field in parsed.fields)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a WARNING for recipients outside, an ERROR for those whose domain is written like
        one's own, and for data carried in a URL. It names domains, never a whole address."""
        facts = about(self.name, agent, context)
        outside: dict[str, list[str]] = {}
        linked: dict[str, list[str]] = {}
        carrying: list[str] = []
        try:
            for text, is_recipient in self._read(context):
                found = outside if is_recipient else linked
                named = dict.fromkeys(_domains(text, is_recipient))
                elsewhere = [domain for domain in named if not self._own.holds(domain)]
                # A key that is an address would stand in the pointer to it.
                place = text.pointer.rpartition("/")[0] if text.is_key else text.pointer
                for domain in elsewhere:
                    found.setdefault(domain, []).append(place)
                if elsewhere and carried(text.text):
                    carrying.append(place)
        except TooMuchError:
            return [unsearchable(facts, "recipients")]
        alike = {domain: own for domain in outside if (own := looks_like(domain, self._own))}
        alerts = [
            _lookalike(domain, own, outside.pop(domain), facts) for domain, own in alike.items()
        ]
        if outside:
            alerts.append(_outside("Recipient outside", "It goes", outside, facts))
        if linked:
            alerts.append(_outside("Link outside", "A link goes", linked, facts))
        if carrying:
            alerts.append(_carrying(places(carrying), facts))
        return alerts

    def _read(self, context: dict[str, Any]) -> Iterator[tuple[Text, bool]]:
        """Yield the texts of the arguments that name recipients, and what is inside of them, keys
        too, and if links count also every other text; each with whether it names recipients."""
        inside: tuple[str, ...] = ()
        for text in texts(context):
            is_inside = any(
                text.pointer == top or text.pointer.startswith(f"{top}/") for top in inside
            )
            if is_inside:
                yield text, True
            elif self._links and not text.is_key:
                yield text, False
            if text.is_key and self._names_recipients(text.name):
                inside = (*inside[-8:], text.pointer)

    def _names_recipients(self, name: str) -> bool:
        said = name_words(name)
        if not _SENDERS.isdisjoint(said):
            return False
        return not self._fields.isdisjoint(said) or not self._fields.isdisjoint(endings(name))


def _domains(text: Text, is_recipient: bool) -> Iterator[str]:
    if text.is_key:
        # An annotation of JSON-LD or OData, such as `@odata.type`, is no address.
        return targets(text.text.removeprefix("@"), hosts=False)
    if is_recipient:
        return targets(text.text, hosts=not _HOST_FIELDS.isdisjoint(name_words(text.name)))
    return links(text.plain)


def _outside(
    title: str, said: str, outside: dict[str, list[str]], facts: dict[str, Any]
) -> SafetyAlert:
    domains = [readable(domain) for domain in list(outside)[:_DOMAINS_NAMED]]
    more = f" and {len(outside) - len(domains)} more" if len(outside) > len(domains) else ""
    shown = places(pointer for pointers in outside.values() for pointer in pointers)
    return SafetyAlert(
        title=title,
        description=f"{said} to {', '.join(domains)}{more}, {at(shown)}.",
        severity=AlertSeverity.WARNING,
        metadata={**facts, "domains": domains, "places": shown},
    )


def _lookalike(domain: str, own: str, pointers: list[str], facts: dict[str, Any]) -> SafetyAlert:
    shown = places(pointers)
    return SafetyAlert(
        title="Domain like your own",
        description=f"{readable(domain)} is not {own}, but is written like it, {at(shown)}.",
        severity=AlertSeverity.ERROR,
        metadata={**facts, "domains": [readable(domain)], "places": shown},
    )


def _carrying(shown: list[str], facts: dict[str, Any]) -> SafetyAlert:
    return SafetyAlert(
        title="Data in a URL",
        description=f"The URL {at(shown)} carries much data outside.",
        severity=AlertSeverity.ERROR,
        metadata={**facts, "places": shown},
    )
