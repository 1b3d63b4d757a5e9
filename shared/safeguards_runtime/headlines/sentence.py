"""What a request is about in one sentence.

The sentence is made of the action type and the arguments, which are what would run; never of what
the agent says about them. All of it is made visible and short; whoever shows it escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from safeguards.text import visible
from safeguards_runtime.headlines.aims import PREPOSITIONS, Aim, aim_of
from safeguards_runtime.headlines.amounts import Amount, amount_of
from safeguards_runtime.headlines.leaves import leaves_of, word_set, words_of
from safeguards_runtime.records import Action, Approval

VERB_LIMIT = 60


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


def headline(record: Action | Approval) -> Headline:
    """Return what an action or approval is about, by its action type and what would run; once it
    is allowed, by what was."""
    context, outcome = record.context, record.outcome
    if outcome is not None and outcome.status.allows:
        context = {**context, **(outcome.modifications or {})}
    elif isinstance(record, Approval):
        context = record.shown_context
    return headline_of(record.action_type, context)


# --- the sentence -------------------------------------------------------------------------------


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
_DEEDS = word_set(
    "add allow approve archive assign book buy cancel change charge close create delete deploy deny"
    " disable donate drop enable erase execute export fetch get grant import install invite issue"
    " list make merge modify move order pay place post publish purchase purge read refund remove"
    " rename reschedule reserve reset restart revoke run schedule sell send set share start stop"
    " submit terminate trade transfer trigger truncate update upload wipe withdraw write"
)
_MONEY_WORDS = ("money", "funds", "cash")
_TAKES_AN_AMOUNT = word_set(
    "pay transfer refund charge withdraw wire deposit donate send invest buy sell trade"
)
_GIVES = word_set(
    "pay payment payout transaction transfer refund wire send email mail message donate donation"
    " disbursement deposit grant share invite issue invoice loan notification money funds cash"
    " request"
)


def headline_of(action_type: str, context: Mapping[str, Any]) -> Headline:
    """Return what an action of this type does with these arguments."""
    words = _words_of(action_type)
    is_cut = words[-1].endswith("…")
    verb, takes_of = _verb(words)
    leaves = leaves_of(context)
    figure = amount_of(leaves.found)
    amount = figure.text if figure else ""
    aim = aim_of(leaves.found, words, gives=bool(_GIVES.keys() & set(words)), is_noun=takes_of)
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
    with_object = _object(aim)
    doubts = [*(figure.doubts if figure else ()), *aim.doubts]
    if is_cut:
        doubts.append("its action type is longer than the headline shows")
    if not leaves.is_all:
        doubts.append("there are more arguments than the headline was made from")
    # "pay invoice 17 for $20.00", but "pay $20.00 to ACME".
    first, second = with_amount, with_object
    if between == " for " and aim.label.partition(" ")[0] not in PREPOSITIONS:
        first, second = with_object, with_amount
    said = f"{aim.label} {aim.text}".strip()
    return Headline(verb, said, amount, figure, (begin, *first, *second), tuple(doubts))


def _object(aim: Aim) -> list[Part]:
    if not aim.text:
        return []
    label = Part("words", f" {aim.label} " if aim.label else " ")
    others = [Part("words", f" and another {aim.other}")] if aim.other else []
    return [label, Part("object", aim.text), *others]


def _words_of(action_type: str) -> list[str]:
    shown = visible(action_type, single_line=True, limit=VERB_LIMIT)
    words = list(words_of(shown))
    # Nothing in it is a word, or what it holds had to be written out: as it is.
    if not words or "⟨" in shown:
        return [shown]
    return [*words, "…"] if shown.endswith("…") else words


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
