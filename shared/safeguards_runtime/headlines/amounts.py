"""How much a request is about: which of its arguments says it, and whether only one could.

An agent writes the names, their order and what they hold. So what stands further out goes before
what is further in, a name that says `amount` before one that has the word in it, and a currency is
only taken from where the amount stands. Where another argument could be meant, it is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from safeguards.text import visible
from safeguards_runtime.headlines.leaves import Leaf
from safeguards_runtime.headlines.quotes import quoted

AMOUNT_LIMIT = 40


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Groups of words, the likeliest first. Among the names of one group the largest amount is shown.
_GROUPS = (
    "amount amt total sum",
    "payment price cost salary budget notional principal refund charge",
    "fee tip",
)
_AMOUNTS = {word: group for group, words in enumerate(_GROUPS) for word in words.split()}
# Of what they are, only a currency says.
_AMOUNTS_WITH_CURRENCY = {
    **_AMOUNTS,
    **dict.fromkeys(("value", "balance", "limit"), len(_GROUPS)),
}
# Words that are more often something else.
_SELDOM = ("principal", "tip")
_LEADING = ("amount", "amt", "total")
_EXACT, _QUALIFIED, _CONTAINED = range(3)
_HOLDING = ("amount", "amt", "total", "sum", "price", "cost", "fee")
# What may stand in the name of an amount without making it more or less. Any other word may say
# what it is to be multiplied with: `amount_millions`, `price_per_unit`.
_QUALIFIERS = _words(
    "in of to the be pay paid due grand sub net gross final currency approved requested transfer"
    " transaction order invoice bill purchase booking deposit donation withdrawal payout loan"
)
# What says so beside it.
_SCALES = _words("unit units scale multiplier magnitude factor exponent denomination")
_NEVER = _words(
    "discount rebate limit max maximum min minimum number count id code type percent rate currency"
    " ccy recipient payee account name date day days time month year term terms method reference"
    " ref"
)

_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_BY_SIGN = {sign: code for code, sign in _SIGNS.items()}
# Of these a name may hold one: `amount_eur`. Of all that there are, some are plain words.
_CODES_IN_NAMES = _words(
    "AED AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS INR JPY KRW MXN NOK NZD PLN RON SEK SGD"
    " THB TRY TWD USD ZAR BTC ETH USDC USDT"
)
# ISO 4217, what is in use.
_CODES = _CODES_IN_NAMES | _words(
    "AFN ALL AMD ANG AOA ARS AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BSD BTN BWP BYN BZD CDF"
    " CLF CLP COP CRC CUP CVE DJF DOP DZD EGP ERN ETB FJD FKP GEL GHS GIP GMD GNF GTQ GYD HNL HTG"
    " IDR IQD IRR ISK JMD JOD KES KGS KHR KMF KPW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA"
    " MKD MMK MNT MOP MRU MUR MVR MWK MYR MZN NAD NGN NIO NPR OMR PAB PEN PGK PHP PKR PYG QAR RSD"
    " RUB RWF SAR SBD SCR SDG SHP SLE SOS SRD SSP STN SVC SYP SZL TJS TMT TND TOP TTD TZS UAH UGX"
    " UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZMW ZWG"
)
_UNITS = {"cents": "cents", "pence": "pence", "dollars": "USD", "euros": "EUR", "pounds": "GBP"}
_CURRENCIES = ("currency", "currency_code", "ccy", "currency_iso")

_OTHER_SCALE = "the amount may be counted in thousands or the like"

_NUMBER = re.compile(r"(-?)([0-9]+)(\.[0-9]+)?")
# What is shown as it is: figures, with a code or a sign at one end.
_FIGURES = re.compile(
    r"(?:[A-Z]{3} ?)?[-+$€£¥]*[0-9][0-9.,' ]*(?:e[-+]?[0-9]+)?(?:[A-Z]{3,4}|[%$€£¥])?", re.ASCII
)
_MINUSES = ("-", "−", "–", "—", "(", "‐", "‑", "﹣", "－")  # noqa: RUF001


@dataclass(frozen=True)
class Amount:
    """How much it is about.

    Attributes:
        text: as it is shown: `$2,500.00`. Visible.
        exact: the figure; None if it is not written as a plain number.
        currency: its code, or an empty text.
        has_others: whether another argument, of another amount, could be meant.
        is_negative: whether it is less than nothing, or is written so.
        doubts: why it may not be what is meant, in words that a sentence can go on from.
    """

    text: str
    exact: Decimal | None
    currency: str
    has_others: bool
    is_negative: bool
    doubts: tuple[str, ...]


class _Candidate(NamedTuple):
    rank: tuple[int, int, int]
    size: Decimal
    text: str
    currency: str
    doubt: str
    unknown: frozenset[str]
    """Words in its name that may change how much it is."""

    is_shown: bool

    @property
    def figure(self) -> tuple[bool, Decimal | str]:
        """What is equal where the figures are."""
        size = self.size if self.size.is_finite() else self.text
        return self.text.startswith(_MINUSES), size


def amount_of(leaves: Iterable[Leaf]) -> Amount | None:
    """Return how much the arguments are about; None if none of them says it."""
    leaves = list(leaves)
    candidates = list(_candidates(leaves))
    # The largest is more than a figure can be for what is no figure: that has to be read.
    ordered = sorted(candidates, key=lambda one: one.size, reverse=True)
    best = min((one for one in ordered if one.is_shown), key=lambda one: one.rank, default=None)
    if best is None:
        return None
    others = [one for one in candidates if _differ(one, best)]
    doubts = [
        *(["more than one argument could be the amount"] if others else []),
        *([best.doubt] if best.doubt else []),
        *([_OTHER_SCALE] if best.unknown or _has_scale(leaves, best) else []),
    ]
    is_plain = len(best.text) <= AMOUNT_LIMIT and _NUMBER.fullmatch(best.text)
    return Amount(
        text=_shown(best.text, best.currency),
        exact=Decimal(best.text) if is_plain else None,
        currency=best.currency,
        has_others=bool(others),
        is_negative=best.text.startswith(_MINUSES),
        doubts=tuple(doubts),
    )


def says_an_amount(words: tuple[str, ...]) -> bool:
    """Tell whether a name is one of an amount or a currency."""
    goodness = _goodness(words, has_currency=True)
    return "_".join(words) in _CURRENCIES or (goodness is not None and goodness[0] < _CONTAINED)


def money_words(amount: Decimal, currency: str) -> str:
    """Return an amount as headlines show it: `$2,500.00`, `12.00 CHF`. It is visible text."""
    return visible(_money(f"{amount:f}", currency), single_line=True, limit=2 * AMOUNT_LIMIT)


def _shown(text: str, currency: str) -> str:
    """Return an amount as the sentence shows it: in quotes if it could be taken for our words."""
    if _FIGURES.fullmatch(text):
        return visible(_money(text, currency), single_line=True, limit=AMOUNT_LIMIT)
    code = f" {_SIGNS.get(currency, currency)}" if currency else ""
    return f"{quoted(text, limit=AMOUNT_LIMIT)}{code}"


def _differ(one: _Candidate, best: _Candidate) -> bool:
    """Tell whether two candidates are different amounts: of one that has no currency, the figure
    has to be the same."""
    are_of_one = one.currency == best.currency or not (one.currency or one.doubt)
    return one.figure != best.figure or one.unknown != best.unknown or not are_of_one


def _has_scale(leaves: Iterable[Leaf], best: _Candidate) -> bool:
    """Tell whether an argument that stands no further in says in what the amount is counted."""
    depth = best.rank[0]
    return any(
        leaf.depth <= depth and leaf.words[-1] in _SCALES and not _unknown(leaf.words[:-1])
        for leaf in leaves
    )


def _candidates(leaves: Iterable[Leaf]) -> Iterable[_Candidate]:
    leaves = list(leaves)
    given: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.words[-1] in ("currency", "ccy") or "_".join(leaf.words) in _CURRENCIES:
            given.setdefault(leaf.within, []).append(leaf)
    beside = {within: _given(currencies) for within, currencies in given.items()}
    for leaf in leaves:
        text = str(leaf.value).strip()
        currency, doubt = _currency(leaf, beside.get(leaf.within, frozenset()))
        goodness = _goodness(leaf.words, has_currency=bool(currency))
        if goodness is None:
            is_held = len(leaf.holder) == 1 and leaf.holder[0] in _HOLDING
            if is_held and _NUMBER.fullmatch(text) and not _NEVER & set(leaf.words):
                goodness = (_CONTAINED, len(_GROUPS))
            else:
                continue
        size = _size(text)
        has_digit = any(character.isdigit() for character in text)
        # "all" is an amount too, but only beside another one that is of interest.
        if not (has_digit or (text and leaf.words == ("amount",))):
            continue
        # `payment_line: "A7"` is none.
        is_vague = goodness[0] == _CONTAINED or leaf.words[-1] in _SELDOM
        if is_vague and not size.is_finite():
            continue
        # Without a currency nobody knows what a total counts.
        is_shown = has_digit and (leaf.words[-1] != "total" or bool(currency))
        rank = (leaf.depth, *goodness)
        unknown = _unknown(leaf.words)
        if set(_HOLDING) & set(leaf.holder):
            unknown |= _unknown(leaf.holder)
        yield _Candidate(rank, size, text, currency, doubt, unknown, is_shown)


@lru_cache(maxsize=4096)
def _unknown(words: tuple[str, ...]) -> frozenset[str]:
    """Return the words in the name of an amount that may say more than that it is one."""
    plain = _AMOUNTS_WITH_CURRENCY.keys() | _QUALIFIERS
    left = (word for word in words if not _code_in(word))
    return frozenset(word for word in left if not {word, word.removesuffix("s")} & plain)


@lru_cache(maxsize=4096)
def _goodness(words: tuple[str, ...], *, has_currency: bool) -> tuple[int, int] | None:
    """Return how well a name says that this is the amount, the best first: exactly, with other
    words, or with the word among others; and the group of its word. None if it does not."""
    wanted = _AMOUNTS_WITH_CURRENCY if has_currency else _AMOUNTS
    bare = [word for word in words if not _code_in(word) and word != "in"]
    if len(bare) == 1 and bare[0] in wanted:
        return _EXACT, wanted[bare[0]]
    if not bare or _NEVER & set(bare):
        return None
    last = bare[-1].removesuffix("s")
    if last in wanted:
        return _QUALIFIED, wanted[last]
    if bare[0] in _LEADING:
        return _QUALIFIED, _AMOUNTS[bare[0]]
    return min(((_CONTAINED, _AMOUNTS[word]) for word in bare if word in _AMOUNTS), default=None)


def _size(text: str) -> Decimal:
    """Return how large an amount is, whatever its sign: endless if it is no figure."""
    try:
        size = Decimal(text if len(text) <= AMOUNT_LIMIT or _NUMBER.fullmatch(text) else "Infinity")
    except InvalidOperation:
        return Decimal("Infinity")
    return Decimal("Infinity") if size.is_nan() else size.copy_abs()


# --- currencies ---------------------------------------------------------------------------------


def _code_in(word: str) -> str:
    """Return the currency or unit that a word of a name is, or an empty text."""
    return _UNITS.get(word) or (word.upper() if word.upper() in _CODES_IN_NAMES else "")


def _given(currencies: Iterable[Leaf]) -> frozenset[str | None]:
    """Return the codes that an object gives, by their exact name or the amount's if it has one;
    None among them for what is no known code."""
    currencies = list(currencies)
    exactly = [
        leaf
        for leaf in currencies
        if "_".join(leaf.words) in _CURRENCIES or not _unknown(leaf.words[:-1])
    ]
    texts = {str(leaf.value).strip() for leaf in exactly or currencies} - {""}
    codes = {_BY_SIGN.get(text, text.upper()) for text in texts}
    return frozenset(code if code in _CODES else None for code in codes)


def _currency(leaf: Leaf, beside: frozenset[str | None]) -> tuple[str, str]:
    """Return the currency of an amount, by its name or by what stands beside it; and why it is
    left out, if it is."""
    if None in beside:
        return "", "its currency is none that is known"
    known = {code for word in leaf.words if (code := _code_in(word))}
    known |= {code for code in beside if code}
    unit = next((code for code in sorted(known) if code in ("cents", "pence")), "")
    known.discard(unit)
    if len(known) > 1:
        return "", "more than one currency is given for the amount"
    # Cents of one currency are not those of another.
    return " ".join([*known, *filter(None, [unit])]), ""


def _money(text: str, currency: str) -> str:
    """Return an amount with its thousands apart, exactly as it was given otherwise."""
    found = _NUMBER.fullmatch(text)
    if found:
        minus, whole, fraction = found.groups()
        text = f"{int(whole):,}" if len(whole) <= 30 and whole == str(int(whole)) else whole
        text = f"{minus}{text}{fraction or ''}"
    sign = _SIGNS.get(currency)
    if found and sign:
        return f"{'-' if text.startswith('-') else ''}{sign}{text.removeprefix('-')}"
    return f"{text} {currency}".strip()
