"""Any interleaving of what may be done to approvals, on a real Valkey, held against a model.

Hypothesis draws what happens and in which order, down to whose round trip comes next; the store's
time is drawn too, so that nothing waits and a failure comes again. After every step the whole store
is read and must be as the model says.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase

from deploy.valkey import ValkeyServer
from tests.chaos.approval.broken import BROKEN
from tests.chaos.approval.explaining import explanations
from tests.chaos.approval.machine import ApprovalMachine
from tests.chaos.approval.model import BASE, Setup, State, opened
from tests.chaos.approval.operations import Respond
from tests.chaos.approval.running import run_series
from tests.chaos.approval.seen import FINAL

DATABASE = 11
"""Of this file's tests alone, so that others may use the same server."""


@pytest.fixture(scope="module")
def url(store_server: ValkeyServer) -> str:
    """Where the machines' store is."""
    return f"{store_server.url.rpartition('/')[0]}/{DATABASE}"


MUST_OCCUR = (
    *("done", "same", "ok", "stopped", "written late", "stale", "not_found", "self_approval"),
    *("not_a_reviewer", "expired", "stale_version", "unexpected_modifications", "nothing_changed"),
    *("wrong_type", "not_editable", "comments_required", "no_question"),
    "idempotency_key_reused",
)


def test_whatever_happens_the_store_is_as_the_model_says(url: str) -> None:
    """Any interleaving of responses, replays, answers, time-outs, cancels and retries; and among
    them there was every outcome, and every refusal that is not rare."""
    tally = run_series(url, 80, seed=6)
    words = {result.partition(":")[0] for result in tally}
    assert words >= set(MUST_OCCUR)
    ends = {result.rpartition(": ")[2] for result in tally if result.startswith("already")}
    assert ends == {event.upper() for event in FINAL}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_product_is_found(defect: str, url: str) -> None:
    """Each defect, alone, leads to a counterexample."""
    with pytest.raises(AssertionError):
        run_series(
            url,
            300,
            seed=3,
            product=BROKEN[defect],
            kind=ApprovalMachine,
            phases=[Phase.generate],
        )


APPROVES, REJECTS = Respond("alex", "approve"), Respond("sam", "reject")


@pytest.mark.parametrize(
    ("results", "count"),
    [
        (("done", "already_decided by alex: APPROVED"), 1),
        (("already_decided by sam: REJECTED", "done"), 1),
        (("done", "done"), 0),
        (("done", "already_decided by sam: REJECTED"), 0),
        (("already_decided by sam: REJECTED", "already_decided by alex: APPROVED"), 0),
        (("done", "same"), 0),
    ],
)
def test_of_two_at_once_one_wins(results: tuple[str, str], count: int) -> None:
    """The model explains that either was first, and nothing else."""
    state = opened(State(Setup(False, False, False, 60)), BASE)
    both = [operation.aimed(state, BASE) for operation in (APPROVES, REJECTS)]
    assert len(explanations(state, both, results)) == count
