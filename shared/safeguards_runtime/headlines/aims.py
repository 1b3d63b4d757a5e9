"""To whom or what an action is done: which of its arguments says it, and whether only one could."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from safeguards_runtime.headlines.amounts import says_an_amount
from safeguards_runtime.headlines.leaves import Leaf, word_set
from safeguards_runtime.headlines.quotes import bare_or_quoted

OBJECT_LIMIT = 60
PREPOSITIONS = ("to", "for", "from")


_SELLERS = ("vendor", "supplier", "merchant")
# Of what is given: of what is not, such as a file or a journey, these are no people.
_ENDS = ("destination", "dest")
_RECIPIENTS = word_set(
    "recipient payee beneficiary to vendor supplier merchant creditor customer client patient"
    " employee recipients receiver counterparty destination dest cc bcc"
)
_THINGS = word_set(
    "account iban email path filepath file filename folder directory table database dataset db"
    " repository repo branch bucket host hostname server cluster service environment url uri"
    " endpoint domain invoice order symbol ticker isin security product item asset user username"
    " record ticket issue key name target resource channel command query sql script id"
)
# What is another word for the same kind of thing.
_SAME = {
    word: kind.split()[0]
    for kind in (
        "file filename filepath path",
        "folder directory",
        "database db",
        "repository repo",
        "host hostname server",
        "url uri",
        "user username",
        "ticket issue",
        "command query sql script",
    )
    for word in kind.split()
}
_OF_ANY_KIND = ("name", "target", "resource")
_REACHES = word_set("account iban email channel")
# What finds somebody as well as a name does; of an account nobody knows on which side it is.
_FINDS = word_set("name account acct address email iban number wallet user")
_ABBREVIATED = {"iban": "IBAN", "sql": "SQL"}
_SECURITIES = word_set("symbol ticker isin security asset product item")
_BARE = word_set(
    "file filename filepath path url uri name target resource id command query sql script"
)

_RANKS = [{word: at for at, word in enumerate(words)} for words in (_RECIPIENTS, _THINGS)]
# "valid_to", "reply_to", "to_currency", "file_size": none of them says to whom or what.
_NEVER = word_set(
    "date time currency ccy type country language locale reply valid due up related count size"
)


class Aim(NamedTuple):
    """What an action is done to.

    Attributes:
        label: what stands before it: `to`, `on table`, or nothing.
        text: what it is; empty if no argument says it.
        other: what else could be meant as well, in a word of ours: `recipient`, `path`. Or empty.
        doubts: why it may not be what is meant, in words that a sentence can go on from.
    """

    label: str = ""
    text: str = ""
    other: str = ""
    doubts: tuple[str, ...] = ()


class _Named(NamedTuple):
    """An argument that could say what an action is done to, the likeliest first."""

    rank: tuple[int, int, int, int]
    word: str
    last: str
    value: str
    within: int
    is_attribute: bool
    is_recipient: bool

    @property
    def depth(self) -> int:
        return self.rank[0]

    @property
    def form(self) -> str:
        """What it looks like: one of somebody's name and one of their account are alike seldom."""
        value = self.value[:OBJECT_LIMIT]
        if "@" in value:
            return "address"
        if self.last == "id":
            return "id"
        return "number" if any(map(str.isdigit, value)) else "name"


def aim_of(leaves: Iterable[Leaf], words: list[str], *, gives: bool, is_noun: bool) -> Aim:
    """Return what an action is done to: what stands furthest out goes before what is likelier.

    Args:
        leaves: its arguments.
        words: its action type.
        gives: whether something goes to somebody.
        is_noun: whether the action type is a thing, as in `payment`.
    """
    leaves = list(leaves)
    words = [_singular(word) for word in words]
    named = sorted(_aims(leaves, gives=gives), key=lambda one: one.rank)
    if not named:
        return Aim()
    shown = named[0]
    if shown.word in _RECIPIENTS:
        # "delete customer 17", not "delete customer for 17".
        label = _towards(shown.word, words, gives=gives)
    else:
        label = _label(shown.word, words, gives=gives, is_noun=is_noun)
    text = bare_or_quoted(shown.value, limit=OBJECT_LIMIT)
    if (shown.is_recipient or gives) and any(_is_another(one, shown) for one in named):
        return Aim(label, text, "recipient", ("more than one argument could be the recipient",))
    other = "" if shown.word in _RECIPIENTS else _other_thing(leaves, shown, words)
    if other:
        doubt = "more than one argument could be what it is done to"
        return Aim(label, text, _ABBREVIATED.get(other, other), (doubt,))
    return Aim(label, text)


def _singular(word: str) -> str:
    """Return the word of ours that a word is, or is the plural of; otherwise itself."""
    stems = (word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y")
    return next((stem for stem in stems if stem in _RECIPIENTS or stem in _THINGS), word)


def _names(leaf: Leaf) -> tuple[str, ...]:
    """Return the words of a name, the last in the singular."""
    return (*leaf.words[:-1], _singular(leaf.words[-1]))


def _is_count(leaf: Leaf) -> bool:
    """Tell whether an argument says how many of a thing there are: `files: 3`."""
    is_plural = _singular(leaf.words[-1]) != leaf.words[-1]
    return is_plural and not leaf.is_listed and not isinstance(leaf.value, str)


def _aims(leaves: Iterable[Leaf], *, gives: bool) -> Iterable[_Named]:
    for leaf in leaves:
        value = str(leaf.value).strip()
        if not value or says_an_amount(leaf.words) or _is_count(leaf):
            continue
        name = _names(leaf)
        if _NEVER.keys() & set(name):
            continue
        for kind, ranks in enumerate(_RANKS):
            # What a thing in an array is called is not what is done.
            if kind == 1 and (leaf.is_listed or leaf.depth > 1):
                continue
            found = [(ranks[word], word) for word in (name[0], name[-1]) if word in ranks]
            if found and (gives or min(found)[1] not in _ENDS):
                at, word = min(found)
                is_exact = name in ((word,), (word, "id"))
                # `recipient_name`, `recipient_iban`: of whom `recipient` says.
                is_attribute = len(name) > 1 and name[0] == word and not name[-1].isdigit()
                reaches = kind == 0 or (gives and name == (word,) and word in _REACHES)
                rank = (leaf.depth, kind, at, 0 if is_exact else 1)
                yield _Named(rank, word, name[-1], value, leaf.within, is_attribute, reaches)
                break


def _is_another(one: _Named, shown: _Named) -> bool:
    """Tell whether an argument names somebody besides who is shown."""
    if not one.is_recipient or one.value == shown.value:
        return False
    # The account of whom is shown.
    tells_more = one.word in _REACHES and one.word != shown.word
    # What tells more of somebody is nobody else.
    is_of_shown = one.within == shown.within and one.word == shown.word
    tells_more = tells_more or (is_of_shown and one.is_attribute)
    # But two names are of two people, and two addresses too.
    finds = one.last in _FINDS and one.word not in ("account", "channel")
    return not tells_more or (finds and one.form == shown.form)


def _other_thing(leaves: Iterable[Leaf], shown: _Named, words: list[str]) -> str:
    """Return by which word another argument names a thing of the same kind as what is shown; empty
    if none does, or none that is not shown. What stands further in is of interest in lists only."""
    kind, kinds = _kind(shown.word), {_kind(word) for word in words if word in _THINGS}
    alike = {kind, "target", "resource"}
    # A name is one of what the action type says, and so is a target.
    if kind in kinds or kind in _OF_ANY_KIND:
        alike.add("name")
    if kind in _OF_ANY_KIND:
        alike |= kinds
    for leaf in leaves:
        name, value = _names(leaf), str(leaf.value).strip()
        # `file_name` is of a file; `display_name` of nothing that is known.
        word = name[0] if name[-1] == "name" else name[-1]
        is_alike = _kind(word) in alike and (len(name) == 1 or word not in _OF_ANY_KIND)
        if not is_alike or not value or _is_count(leaf) or _is_same(value, shown.value):
            continue
        holds_such = bool(leaf.holder) and _kind(_singular(leaf.holder[-1])) == kind
        is_further_in = leaf.holder and leaf.depth > shown.depth and leaf.within != shown.within
        if holds_such or not is_further_in:
            return word
    return ""


def _kind(word: str) -> str:
    return _SAME.get(word, word)


def _is_same(value: str, shown: str) -> bool:
    """Tell whether a value says no more than what is shown: itself, or the end of its path."""
    return value == shown or shown.endswith((f"/{value}", f"\\{value}"))


def _towards(wanted: str, words: list[str], *, gives: bool) -> str:
    if wanted in words:
        return ""
    return "to" if gives else "from" if wanted in _SELLERS else "for"


def _label(wanted: str, words: list[str], *, gives: bool, is_noun: bool) -> str:
    """Return what stands before the name of a thing: `to account`, `on table`, or nothing."""
    said = _ABBREVIATED.get(wanted, wanted)
    if wanted in words:
        return ""
    if gives and wanted in _REACHES:
        return "to" if wanted == "email" else f"to {said}"
    if wanted in _SECURITIES:
        return "in" if is_noun else ""
    if wanted in _BARE and not is_noun:
        return "" if len(words) > 1 or wanted != "id" else said
    return f"on {said}" if is_noun or len(words) > 1 else said
