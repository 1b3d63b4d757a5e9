"""What a request is about in one sentence.

The sentence is made of the action type and the arguments, which are what would run; never of what
the agent says about them. All of it is made visible and short; whoever shows it escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from safeguards.text import visible
from safeguards_runtime.headlines.amounts import Amount, amount_of, says_an_amount
from safeguards_runtime.headlines.leaves import Leaf, leaves_of, words_of
from safeguards_runtime.records import Approval

VERB_LIMIT = 60
OBJECT_LIMIT = 60


class Part(NamedTuple):
    """A piece of the sentence."""

    kind: Literal["words", "amount", "object"]
    """`words` are ours, or the action type's; the others are arguments."""

    text: str


@dataclass(frozen=True)
class Headline:
    """What a request is about.

    Attributes:
        verb: what would be done, in plain words: `make a payment`, `delete file`.
        object: to whom or what, with its preposition or name: `to ACME`, `/srv/a.txt`. Empty if no
            argument says it.
        amount: how much, in the currency that is given: `$2,500.00`, `2,500.00`. Or empty.
        figure: how much exactly, and whether that is all; None if no argument says it.
        parts: the sentence in pieces, so that amount and object can be set off. They are joined as
            they are.
        sentence: all of it: `Make a payment of 2,500.00 to ACME`.
        doubts: why amount and object may not be what is meant, in words that a sentence can go on
            from: `more than one argument could be the amount`.
    """

    verb: str
    object: str
    amount: str
    figure: Amount | None
    parts: tuple[Part, ...]
    doubts: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The parts as one line."""
        return "".join(part.text for part in self.parts)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the arguments have to be read to know what is meant."""
        return bool(self.doubts)


def headline(approval: Approval) -> Headline:
    """Return what an approval asks for, by its action type and what would run."""
    return headline_of(approval.action_type, approval.shown_context)


# --- the sentence -------------------------------------------------------------------------------


def _words(text: str) -> dict[str, None]:
    """Return words as an ordered set."""
    return dict.fromkeys(text.split())


# Action types that are things, not deeds: what one does with them.
_NOUNS = {
    "adjustment": "make",
    "appointment": "make",
    "booking": "make",
    "change": "make",
    "deletion": "carry out",
    "deployment": "make",
    "deposit": "make",
    "disbursement": "make",
    "donation": "make",
    "email": "send",
    "export": "make",
    "import": "make",
    "investment": "make",
    "invoice": "issue",
    "loan": "grant",
    "mail": "send",
    "message": "send",
    "migration": "carry out",
    "notification": "send",
    "order": "place",
    "payment": "make",
    "payout": "make",
    "post": "publish",
    "prescription": "issue",
    "purchase": "make",
    "query": "run",
    "refund": "make",
    "request": "go ahead with",
    "reservation": "make",
    "tool": "run",
    "trade": "make",
    "transaction": "make",
    "transfer": "make",
    "update": "make",
    "withdrawal": "make",
}
# Of what can be both, what says that it is a deed: something follows, as in `transfer_funds`.
_DEEDS = _words(
    "add allow approve archive assign book buy cancel change charge close create delete deploy deny"
    " disable donate drop enable erase execute export fetch get grant import install invite issue"
    " list make merge modify move order pay place post publish purchase purge read refund remove"
    " rename reschedule reserve reset restart revoke run schedule sell send set share start stop"
    " submit terminate trade transfer trigger truncate update upload wipe withdraw write"
)
_MONEY_WORDS = ("money", "funds", "cash")
_TAKES_AN_AMOUNT = _words(
    "pay transfer refund charge withdraw wire deposit donate send invest buy sell trade"
)
_GIVES = _words(
    "pay payment payout transaction transfer refund wire send email mail message donate donation"
    " disbursement deposit grant share invite issue invoice loan notification money funds cash"
    " request"
)


def headline_of(action_type: str, context: Mapping[str, Any]) -> Headline:
    """Return what an action of this type does with these arguments."""
    words = _words_of(action_type)
    verb, takes_of = _verb(words)
    leaves = leaves_of(context)
    figure = amount_of(leaves.found)
    amount = figure.text if figure else ""
    aim = _aim(leaves.found, words, is_noun=takes_of)
    name = aim.label
    if amount and words[-1] in _MONEY_WORDS:
        # "send money" with an amount is "send $20.00".
        verb, takes_of = verb.rpartition(" ")[0] or verb, False
    between = " of " if takes_of else " "
    is_bare = words[0] in _TAKES_AN_AMOUNT and not set(words[1:]) - {"in", "out", "back"}
    if amount and not takes_of and not is_bare and words[-1] not in _MONEY_WORDS:
        between = " for "
    begin = Part("words", verb[:1].upper() + verb[1:])
    with_amount = [Part("words", between), Part("amount", amount)] if amount else []
    if figure and figure.has_others:
        with_amount.append(Part("words", " and other amounts"))
    with_object = aim.parts
    doubts = [*(figure.doubts if figure else ()), *aim.doubts]
    if not leaves.is_all:
        doubts.append("there are more arguments than the headline was made from")
    # "pay invoice 17 for $20.00", but "pay $20.00 to ACME".
    first, second = with_amount, with_object
    if between == " for " and name.partition(" ")[0] not in _PREPOSITIONS:
        first, second = with_object, with_amount
    said = f"{name} {aim.text}".strip()
    return Headline(verb, said, amount, figure, (begin, *first, *second), tuple(doubts))


def _words_of(action_type: str) -> list[str]:
    shown = visible(action_type, single_line=True, limit=VERB_LIMIT)
    words = list(words_of(shown))
    # Nothing in it is a word, or what it holds had to be written out: as it is.
    return words if words and "⟨" not in shown else [shown]


def _verb(words: list[str]) -> tuple[str, bool]:
    """Return what is done in plain words, and whether its amount follows with "of"."""
    first, last = words[0], words[-1]
    if len(words) > 1 and last in _DEEDS and first not in _DEEDS and last not in _NOUNS:
        # `file.delete`, `customer_delete`.
        return " ".join([last, *words[:-1]]), False
    is_noun = last in _NOUNS and (len(words) == 1 or first not in _DEEDS)
    if not is_noun:
        return " ".join(words), False
    article = "an" if words[0][0] in "aeiou" else "a"
    return f"{_NOUNS[last]} {article} {' '.join(words)}", True


# --- to whom or what ----------------------------------------------------------------------------

_PREPOSITIONS = ("to", "for", "from")
_SELLERS = ("vendor", "supplier", "merchant")
_RECIPIENTS = _words(
    "recipient payee beneficiary to vendor supplier merchant creditor customer client patient"
    " employee recipients cc bcc"
)
_THINGS = _words(
    "account iban email file filename filepath path folder directory table database dataset db"
    " repository repo branch bucket host hostname server cluster service environment url uri"
    " endpoint domain invoice order symbol ticker isin security product item asset user username"
    " record ticket issue key name target resource channel command query id"
)
_REACHES = _words("account iban email channel")
_SECURITIES = _words("symbol ticker isin security asset product item")
_BARE = _words("file filename filepath path url uri name target resource id command query")
_PLAIN = re.compile(r"[\w @.,&/\\:+#'()~-]+")


_RANKS = [{word: at for at, word in enumerate(words)} for words in (_RECIPIENTS, _THINGS)]
# "valid_to", "reply_to", "to_currency": none of them says to whom.
_NO_RECIPIENT = _words(
    "date time currency ccy type country language locale reply valid due up related"
)


class _Aim(NamedTuple):
    """What an action is done to."""

    label: str = ""
    """What stands before it."""

    text: str = ""
    others: str = ""

    @property
    def parts(self) -> list[Part]:
        if not self.text:
            return []
        label = Part("words", f" {self.label} " if self.label else " ")
        return [label, Part("object", self.text), *self._and_others]

    @property
    def _and_others(self) -> list[Part]:
        return [Part("words", f" and {self.others}")] if self.others else []

    @property
    def doubts(self) -> list[str]:
        return ["more than one argument could be the recipient"] if self.others else []


class _Named(NamedTuple):
    """An argument that could say what an action is done to, the likeliest first."""

    rank: tuple[int, int, int, int]
    word: str
    value: str
    within: int
    is_attribute: bool
    is_recipient: bool


def _aim(leaves: Iterable[Leaf], words: list[str], *, is_noun: bool) -> _Aim:
    """Return what an action is done to: what stands furthest out goes before what is likelier."""
    gives = bool(_GIVES.keys() & set(words))
    named = sorted(_aims(leaves, gives=gives), key=lambda one: one.rank)
    if not named:
        return _Aim()
    shown = named[0]
    others = shown.is_recipient or gives
    others = others and any(_is_another(one, shown) for one in named)
    if shown.word in _RECIPIENTS:
        # "delete customer 17", not "delete customer for 17".
        label = _towards(shown.word, words, gives=gives)
    else:
        label = _label(shown.word, words, gives=gives, is_noun=is_noun)
    article = "another" if shown.is_recipient else "a"
    more = f"{article} recipient" if others else ""
    return _Aim(label, _named(shown.value), more)


def _aims(leaves: Iterable[Leaf], *, gives: bool) -> Iterable[_Named]:
    for leaf in leaves:
        name, value = leaf.words, str(leaf.value).strip()
        if not value or says_an_amount(name):
            continue
        for kind, ranks in enumerate(_RANKS):
            # What a thing in an array is called is not what is done.
            if kind == 1 and (leaf.is_listed or leaf.depth > 1):
                continue
            found = [(ranks[word], word) for word in (name[0], name[-1]) if word in ranks]
            if found and (kind == 1 or not _NO_RECIPIENT.keys() & set(name)):
                at, word = min(found)
                is_exact = name in ((word,), (word, "id"))
                # `recipient_name`, `recipient_iban`: of whom `recipient` says.
                is_attribute = len(name) > 1 and name[0] == word and not name[-1].isdigit()
                reaches = kind == 0 or (gives and name == (word,) and word in _REACHES)
                rank = (leaf.depth, kind, at, 0 if is_exact else 1)
                yield _Named(rank, word, value, leaf.within, is_attribute, reaches)
                break


def _is_another(one: _Named, shown: _Named) -> bool:
    """Tell whether an argument names somebody besides who is shown."""
    if not one.is_recipient or one.value == shown.value:
        return False
    if one.word in _REACHES and one.word != shown.word:
        # The account of whom is shown.
        return False
    # What tells more of somebody is nobody else.
    is_of_shown = one.within == shown.within and one.word == shown.word
    return not (is_of_shown and one.is_attribute)


def _towards(wanted: str, words: list[str], *, gives: bool) -> str:
    if wanted in words:
        return ""
    return "to" if gives else "from" if wanted in _SELLERS else "for"


def _label(wanted: str, words: list[str], *, gives: bool, is_noun: bool) -> str:
    """Return what stands before the name of a thing: `to account`, `on table`, or nothing."""
    said = "IBAN" if wanted == "iban" else wanted
    if wanted in words:
        return ""
    if gives and wanted in _REACHES:
        return "to" if wanted == "email" else f"to {said}"
    if wanted in _SECURITIES:
        return "in" if is_noun else ""
    if wanted in _BARE and not is_noun:
        return "" if len(words) > 1 or wanted != "id" else said
    return f"on {said}" if is_noun or len(words) > 1 else said


def _named(value: str) -> str:
    """Return a value as the sentence shows it: in quotes if it could be taken for our words."""
    shown = visible(value, single_line=True, limit=OBJECT_LIMIT)
    return shown if _PLAIN.fullmatch(shown) and len(shown.split()) <= 4 else f"“{shown}”"
