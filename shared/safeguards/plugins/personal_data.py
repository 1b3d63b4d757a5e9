"""The safeguard for personal data: card numbers, national identity numbers and the like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

from safeguards.configuration import Config, read_config
from safeguards.errors import MissingExtraError
from safeguards.plugins.action_words import endings
from safeguards.plugins.arguments import TooMuchError
from safeguards.plugins.base import Safeguard
from safeguards.plugins.texts import about, at, places, texts, unsearchable
from safeguards.types import Agent, AlertSeverity, SafetyAlert

Kind = Literal["card", "ssn", "national_id", "iban", "passport", "email", "phone"]

_WORDS: dict[Kind, str] = {
    "card": "a card number",
    "ssn": "a social security number",
    "national_id": "a national identity number",
    "iban": "an IBAN",
    "passport": "a passport number",
    "email": "an email address",
    "phone": "a phone number",
}
_LESS_SENSITIVE: frozenset[Kind] = frozenset({"iban", "email", "phone"})
_MAX_CANDIDATES = 1000
"""How many texts of one form are looked at closely in one argument."""


@dataclass(frozen=True)
class _Form:
    """How one kind of number is written.

    Attributes:
        kind: what it is.
        pattern: what it looks like; its last group, or all of it, is the number.
        numbers: the modules of python-stdnum that know its check digits; any of them may.
            Without any, the form says enough.
        names: the ends of the names of arguments in which alone it is looked for; if none, in all.
    """

    kind: Kind
    pattern: re.Pattern[str]
    numbers: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()


def _form(kind: Kind, pattern: str, *numbers: str, names: str = "") -> _Form:
    # Not inside of a longer number, name or address.
    framed = rf"(?<![\w@/])(?<![0-9][ .-])(?:{pattern})(?![\w@])(?![ .-]?[0-9])"
    return _Form(kind, re.compile(framed, re.ASCII), numbers, frozenset(names.split()))


_SAID = r"(?:\s(?i:no|nr|number|num)\b)?[^0-9A-Za-z]{0,5}(?i:is|:)?[^0-9A-Za-z]{0,5}"
_SSN_NAMED = rf"(?i:social security|ssn){_SAID}"
_NAMED = (
    r"(?i:national (?:id|insurance)|identity (?:card|number)|personal (?:id|number)"
    rf"|tax (?:id|number)|steuer-?id|idnr|bsn|pesel|personnummer|cpf|aadhaar|sin|nino|nir){_SAID}"
)
_BARE = (
    "de.idnr", "nl.bsn", "pl.pesel", "za.idnr", "tr.tckimlik", "ca.sin", "se.personnummer",
    "no.fodselsnummer", "be.nn", "br.cpf", "in_.aadhaar", "ro.cnp", "hr.oib", "ch.ssn",
)  # fmt: skip
_NATIONAL_NAMES = (
    "national_id national_identity_number national_insurance_number nino nin tax_id tin bsn pesel "
    "steuer_id idnr personnummer cpf aadhaar sin nir personal_number identity_number id_number"
)

_FORMS = (
    # The lengths and beginnings of ISO/IEC 7812 that the large networks use.
    _form(
        "card",
        r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6(?:011|[2-5][0-9]{2})|35[0-9]{2})"
        r"(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"
        r"|3[068][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{4}",
        "luhn",
    ),
    _form("ssn", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", "us.ssn"),
    _form("ssn", r"[0-9]{3} ?[0-9]{2} ?[0-9]{4}", "us.ssn", names="ssn social_security_number"),
    _form("ssn", _SSN_NAMED + r"([0-9]{3} ?[0-9]{2} ?[0-9]{4})", "us.ssn"),
    _form(
        "national_id", r"[0-9]{6}[-+A-F][0-9]{3}[0-9A-Y]", "fi.hetu", "se.personnummer", "dk.cpr"
    ),
    _form("national_id", r"(?:19|20)[0-9]{6}-[0-9]{4}", "se.personnummer"),
    _form("national_id", r"[0-9]{6}-[0-9]{7}", "kr.rrn"),
    _form(
        "national_id",
        r"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        "fr.nir",
    ),
    _form("national_id", r"[1-9][0-9]{16}[0-9X]", "cn.ric"),
    _form("national_id", r"756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}", "ch.ssn"),
    _form("national_id", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", "br.cpf"),
    _form("national_id", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", "be.nn"),
    _form("national_id", r"[2-9][0-9]{3} [0-9]{4} [0-9]{4}", "in_.aadhaar"),
    _form("national_id", r"[0-9]{3}-[0-9]{3}-[0-9]{3}", "ca.sin"),
    _form("national_id", r"[0-9]{8}-?[A-Z]|[XYZ]-?[0-9]{7}-?[A-Z]", "es.dni", "es.nie"),
    _form("national_id", r"[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]", "it.codicefiscale"),
    _form("national_id", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[A-Z0-9][0-9]", "mx.curp"),
    _form("national_id", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: [0-9]{2}){3} ?[A-D]"),
    _form("national_id", _NAMED + r"([A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D])"),
    _form("national_id", _NAMED + r"([0-9](?:[ .-]?[0-9]){8,12})", *_BARE),
    _form("national_id", r"[0-9](?:[ .-]?[0-9]){8,12}", *_BARE, names=_NATIONAL_NAMES),
    _form("national_id", r"[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", names=_NATIONAL_NAMES),
    _form("iban", r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?", "iban"),
    _form(
        "passport",
        r"(?=[A-Z]{0,2}[0-9])[A-Z0-9]{6,9}",
        names="passport passport_number passport_no",
    ),
    _form("passport", r"(?i:passport)[^0-9A-Z]{1,20}((?=[A-Z]{0,2}[0-9])[A-Z0-9]{6,9})"),
    _form("passport", r"P[A-Z<][A-Z<]{3}[A-Z<]{39}"),
    _form("email", r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}"),
    _form("phone", r"\+[0-9](?:[ ().-]{0,2}[0-9]){7,14}"),
    _form(
        "phone",
        r"[0-9(](?:[ ().-]{0,2}[0-9]){6,14}",
        names="phone phone_number mobile tel telephone",
    ),
)
_MAY_HOLD = re.compile(r"[0-9](?:[ .+()-]{0,2}[0-9A-Z]){5}|P[A-Z]?<|[A-Z]{6}[0-9]")
_TIME = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]{4,15}(?:Z|[+-][0-9:]{4,5})?)?")


class PersonalDataConfig(Config):
    """What `PersonalDataSafeguard` is initialized with.

    Attributes:
        kinds: what is looked for.
    """

    kinds: tuple[Kind, ...] = ("card", "ssn", "national_id")


class PersonalDataSafeguard(Safeguard):
    """Alerts on personal data, wherever in the arguments.

    Numbers are known by their form and their check digits, so that an order number is none.
    """

    name: ClassVar[str] = "personal_data"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `kinds`. See `PersonalDataConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
            MissingExtraError: if python-stdnum is not installed.
        """
        parsed = read_config(PersonalDataConfig, config, type(self).__name__)
        forms = [form for form in _FORMS if form.kind in parsed.kinds]
        try:
            self._forms = [(form, [_validity(name) for name in form.numbers]) for form in forms]
        except ImportError as error:
            raise MissingExtraError("PersonalDataSafeguard", "detection") from error

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an alert for each kind of data: WARNING for what is everyday in business, such as
        an IBAN or an address, else ERROR. It says where the data stands, never what it is."""
        facts = about(self.name, agent, context)
        found: dict[Kind, list[str]] = {}
        hidden = set()
        try:
            for text in texts(context):
                for kind in self._kinds_in(text.plain, text.name):
                    found.setdefault(kind, []).append(text.pointer)
                    if text.is_key:
                        hidden.add(text.text)
        except TooMuchError:
            return [unsearchable(facts, "personal data")]
        return [_alert(kind, places(where, hidden), facts) for kind, where in found.items()]

    def _kinds_in(self, text: str, name: str) -> Iterator[Kind]:
        addressed = "@" in text
        numbered = _MAY_HOLD.search(text) is not None and not _TIME.fullmatch(text)
        if not addressed and not numbered:
            return
        ends = endings(name)
        for form, validities in self._forms:
            if not (addressed if form.kind == "email" else numbered):
                continue
            if form.names and form.names.isdisjoint(ends):
                continue
            if _holds(text, form.pattern, validities):
                yield form.kind


def _validity(number: str) -> Callable[[str], bool]:
    """Return what tells whether a text is a number of this sort, by its check digits."""
    valid: Callable[[str], bool] = import_module(f"stdnum.{number}").is_valid
    return valid


def _holds(text: str, pattern: re.Pattern[str], validities: list[Callable[[str], bool]]) -> bool:
    for count, match in enumerate(pattern.finditer(text)):
        if count >= _MAX_CANDIDATES:
            raise TooMuchError
        number = match[match.lastindex or 0]
        compact = number.replace(" ", "").replace("-", "")
        if not validities or any(valid(number) or valid(compact) for valid in validities):
            return True
    return False


def _alert(kind: Kind, shown: list[str], facts: dict[str, Any]) -> SafetyAlert:
    less = kind in _LESS_SENSITIVE
    return SafetyAlert(
        title="Personal data",
        description=f"There is {_WORDS[kind]} {at(shown)}.",
        severity=AlertSeverity.WARNING if less else AlertSeverity.ERROR,
        metadata={**facts, "kind": kind, "places": shown},
    )
