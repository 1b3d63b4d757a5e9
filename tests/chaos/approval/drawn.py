"""What Hypothesis draws from: operations, some likelier than others, setups and orders."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.chaos.approval import model
from tests.chaos.approval.model import MODIFICATIONS, Setup
from tests.chaos.approval.operations import Answer, Operation, Plan, Respond, Track, Withdraw

MEMBERS = st.sampled_from(model.MEMBERS)
QUESTIONS = st.sampled_from(["why?", "how?", "for whom?"])
FINALS = st.one_of(
    st.builds(Respond, MEMBERS, st.sampled_from(["approve", "reject"])),
    st.builds(Respond, MEMBERS, st.just("modify"), modifications=st.sampled_from(model.FITTING)),
)
ASKS = st.builds(Respond, MEMBERS, st.just("ask"), QUESTIONS)
CLUMSY = st.one_of(
    st.builds(Respond, MEMBERS, st.just("modify"), modifications=st.sampled_from(model.UNFIT)),
    st.builds(Respond, MEMBERS, st.just("approve"), modifications=st.sampled_from(model.FITTING)),
    st.just(Respond("alex", "ask")),
)
ANY_RESPONSES = st.builds(
    Respond,
    st.sampled_from(model.MEMBERS * 2 + model.ASKERS + model.OUTSIDERS),
    st.sampled_from(["approve", "modify", "modify", "reject", "ask"]),
    st.just("") | QUESTIONS,
    st.sampled_from(sorted(MODIFICATIONS)),
    st.sampled_from([0, 0, 0, -1, 1]),
    st.sampled_from(["right", "right", "right", "", "wrong"]),
)
ANSWERS = st.builds(
    Answer, st.sampled_from(["because", "so"]), st.sampled_from(["", "", "one", "two"])
)
LOOKS = st.builds(Track, st.booleans(), st.booleans())
PLANS = st.builds(Plan)
WITHDRAWALS = st.builds(Withdraw)


def weighted(strategies: dict[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Operation]:
    """Return a strategy that draws from each as often as its weight says."""
    return st.sampled_from([s for s, weight in strategies.items() for _ in range(weight)]).flatmap(
        lambda strategy: strategy
    )


RESPONSES = weighted({ASKS: 2, FINALS: 1, CLUMSY: 3, ANY_RESPONSES: 2})
OPERATIONS = weighted(
    {ASKS: 4, FINALS: 3, ANY_RESPONSES: 3, ANSWERS: 4, LOOKS: 4, PLANS: 2, WITHDRAWALS: 1}
)
INTERRUPTIONS = weighted({FINALS: 3, ANSWERS: 2, ASKS: 1, LOOKS: 1, PLANS: 1, WITHDRAWALS: 1})
CONTENDERS = 4
SETUPS = st.builds(
    Setup,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([60, 600]),
    st.sampled_from([1, 1, 2]),
)
NEWEST = -1
WHICH = st.sampled_from([NEWEST] * 5 + [0, 1, 2, 3])
LATE = st.sampled_from([False] * 23 + [True])
SEVERAL = st.lists(st.tuples(OPERATIONS, LATE), min_size=2, max_size=CONTENDERS)
ORDERS = st.lists(st.integers(0, CONTENDERS - 1), max_size=16)
