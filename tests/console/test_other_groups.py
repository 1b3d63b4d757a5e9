"""What one may not read stays hidden beside what one may; and what is halted says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2
import pytest

from safeguards.contracts import ActionSubmission, ResponseSubmission, Verdict
from safeguards.identifiers import new_id
from safeguards_runtime.records import Action, Approval, Change, Delivery, Halts
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.records.delivery import token_hash
from safeguards_runtime.records.halts import HALTS_ID, Subject, halt, resume
from safeguards_runtime.records.judgement import GrantUse, Judgement
from safeguards_runtime.store import Store
from tests.console.doors import PEOPLE, Door, open_door, person
from tests.console.test_inbox_lists import opened
from tests.runtime.samples import TERMS

AGENT = "treasury-agent"
PLACES = ("Ours Inc", "Theirs Inc")
REASON = "It pays twice. <b>Ask Jan</b> \u202e"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("door")) as door:
        door.write_people([*PEOPLE, person("robin", groups=("others",))])
        yield door


@pytest.fixture(scope="module")
def paths(door: Door) -> dict[str, str]:
    """The pages of a request to our group: for who has signed in, and by a mail's link. Before,
    the agent has asked us and others, and was let through with either."""
    return door.with_store(_asked)


async def _asked(store: Store) -> dict[str, str]:
    now = await store.now()
    for groups, payee in zip((("reviewers",), ("others",)), PLACES, strict=True):
        await _ended(store, now, groups, payee)
        await _let_through(store, now, groups, f"{payee} again")
    await store.create(_payment(now, "others", "Elsewhere", agent_id="hidden-agent", kind="hide"))
    asked, _ = await store.create(_payment(now, "reviewers", "ACME"))
    token_id = new_id("dlv")
    token = f"{token_id.removeprefix('dlv_')}.secret"
    mail = Delivery(
        id=token_id,
        source_id=asked.id,
        next_attempt_at=now,
        event="approval.requested",
        channel="email",
        kind="email",
        reviewer_id="sam",
        parcel_id=None,
        token_hashes=(token_hash(token),),
    )
    await store.create(delivery_rules.plan(mail, now))
    return {"session": f"/console/requests/{asked.id}", "link": f"/review/{token}"}


def _payment(
    now: datetime, group: str, payee: str, agent_id: str = AGENT, kind: str = "payment"
) -> Change:
    given = {"agent_id": agent_id, "action_type": kind, "payee": payee}
    return opened(now, "Pay", group, **given)


async def _ended(store: Store, now: datetime, groups: tuple[str, ...], payee: str) -> None:
    asked, _ = await store.create(_payment(now, groups[0], payee))

    def rule(standing: Approval | None, now: datetime) -> Change | None:
        assert standing is not None
        answer = ResponseSubmission.model_validate(
            {"version": standing.version, "digest": standing.digest, "response": "approve"}
        )
        return approval_rules.respond(
            standing, answer, reviewer_id="kim", groups=set(groups), via="api", now=now
        )

    await store.apply(asked.id, Approval, rule)


async def _let_through(store: Store, now: datetime, groups: tuple[str, ...], payee: str) -> None:
    wanted = ActionSubmission(agent_id=AGENT, action_type="payment", context={"payee": payee})
    change = action_rules.submit(new_id("act"), wanted, key_id="k", owner=None, now=now)
    made, _ = await store.create(change)
    use = GrantUse(
        grant_id=new_id("grt"),
        given_by="kim",
        giver="Kim",
        approval_id=new_id("apr"),
        number=1,
        of=2,
    )
    terms = TERMS.model_copy(update={"groups": groups})
    judged = Judgement(verdict=Verdict.ALLOW, terms=terms, grant=use)

    def rule(standing: Action | None, now: datetime) -> Change | None:
        assert standing is not None
        return action_rules.judge(standing, judged, now)

    await store.apply(made.id, Action, rule)


def visit(door: Door, who: str, path: str, **query: str) -> httpx2.Response:
    """Return a page as it is for somebody, or for a stranger who has no name."""
    with door.signed_in(who) if who else door.browser() as client:
        return client.get(path, params=query or None)


@pytest.mark.parametrize("way", ["session", "link"])
def test_like_requests_of_other_groups_are_only_counted(
    door: Door, paths: dict[str, str], way: str
) -> None:
    answer = visit(door, "sam" if way == "session" else "", paths[way])
    assert answer.status_code == 200
    for words in ("Ours Inc", "Ours Inc again"):
        assert words in answer.text
    assert "Theirs" not in answer.text
    assert "Of the latest, 1 was put to groups" in answer.text


def test_who_reads_all_reads_these_too(door: Door, paths: dict[str, str]) -> None:
    shown = visit(door, "alex", paths["session"]).text
    assert "Theirs Inc" in shown
    assert "Theirs Inc again" in shown
    assert "were put to groups" not in shown


def test_filters_offer_names_of_what_one_may_read(door: Door, paths: dict[str, str]) -> None:
    """Whoever reads all chooses among all names; others write one, and are offered their own."""
    assert paths
    own, everything = (visit(door, who, "/console").text for who in ("sam", "alex"))
    for name in ("hidden-agent", "hide"):
        assert f'value="{name}"' not in own
        assert f'value="{name}"' in everything
    assert f'value="{AGENT}"' in own
    assert f'value="{AGENT}"' in everything
    written = visit(door, "sam", "/console", agent="no-such-agent").text
    assert '<input id="agent" name="agent" value="no-such-agent"' in written


@pytest.mark.parametrize("at", ["/l/" + "1" * 5_000, "/l/00", "/nothing"], ids=len)
def test_what_is_at_no_place_is_not_found(door: Door, at: str) -> None:
    async def asked(store: Store) -> str:
        given: dict[str, Any] = {"l": [1]}
        made, _ = await store.create(opened(await store.now(), "List", "reviewers", **given))
        return made.id

    path = f"/console/requests/{door.with_store(asked)}/arguments"
    assert visit(door, "sam", path, at=at).status_code == 404
    assert visit(door, "sam", path, at="/l/0").text == "1"
    assert visit(door, "sam", path, at="").text.startswith("{")


def test_very_many_arguments_do_not_fill_the_page(door: Door) -> None:
    """Where the others are is said."""

    async def asked(store: Store) -> str:
        many: dict[str, Any] = {f"k{n}": "v" for n in range(15_000)}
        made, _ = await store.create(opened(await store.now(), "Many", "reviewers", **many))
        return made.id

    shown = visit(door, "sam", f"/console/requests/{door.with_store(asked)}").text
    assert "13,500 more arguments" in shown
    assert '/arguments?at="' in shown
    assert len(shown) < 600_000


@pytest.mark.parametrize(
    ("subject", "name", "said"),
    [
        ("agent", "halted-agent", "halted-agent is"),
        ("type", "transfer_*", "actions of type transfer_* are"),
    ],
)
def test_what_waits_and_is_halted_says_so(
    door: Door, subject: Subject, name: str, said: str
) -> None:
    """On its page and in the list, with who has halted it and why; not once it may go on."""
    wanted = {"agent_id": "halted-agent", "kind": "transfer_abroad"}

    async def halted(store: Store) -> str:
        now = await store.now()
        made, _ = await store.create(_payment(now, "reviewers", "ACME", **wanted))

        def rule(standing: Halts | None, now: datetime) -> Change | None:
            return halt(standing, subject, name, by="reviewer:alex", reason=REASON, now=now)

        await store.apply(HALTS_ID, Halts, rule)
        return made.id

    async def resumed(store: Store) -> None:
        def rule(standing: Halts | None, now: datetime) -> Change | None:
            return resume(standing, subject, name, by="reviewer:alex", now=now)

        await store.apply(HALTS_ID, Halts, rule)

    path = f"/console/requests/{door.with_store(halted)}"
    said = f"{said} halted by Alex: It pays twice. &lt;b&gt;Ask Jan&lt;/b&gt; ⟨U+202E⟩"
    assert visit(door, "sam", path).text.count(said) == 1
    assert said in visit(door, "sam", "/console", agent="halted-agent").text
    assert "halted by" not in visit(door, "sam", "/console", agent=AGENT).text
    door.with_store(resumed)
    assert "halted by" not in visit(door, "sam", path).text
