"""What must hold after any fault: six invariants, each a function that returns what breaks it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from enum import StrEnum
from typing import Any

from safeguards.contracts import Outcome, Verdict
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import Action, Approval, Delivery, Record
from safeguards_runtime.records.delivery import DeliveryStatus
from safeguards_runtime.records.record import NO_HASH, history_hash
from tests.chaos.journal import Answered, Arrived, Asked, Heard, Journal, Struck
from tests.chaos.snapshot import Snapshot


class Invariant(StrEnum):
    """What is promised."""

    ONE_OUTCOME = "I1"
    """Every action that was accepted reaches exactly one final outcome."""

    NO_RESPONSE_LOST = "I2"
    """No response that was answered 2xx is lost or replaced."""

    RESOLVED_ONCE = "I3"
    """No approval resolves twice, and the agent never hears two outcomes."""

    EVERYBODY_TOLD = "I4"
    """Every due notification arrives at least once; repeats carry the same id and are at most one
    for each crash."""

    HISTORY_WHOLE = "I5"
    """Each record's history is gap-free, in order, and its hash chain verifies."""

    NOTHING_LEFT = "I6"
    """Nothing stays behind: outboxes, agendas and queues are empty when all is settled, and no key
    is orphaned."""


FINAL_EVENTS = {"approved", "modified", "rejected", "timed_out", "cancelled"}
STATUS_AFTER = {
    "approve": ActionStatus.APPROVED,
    "modify": ActionStatus.MODIFIED,
    "reject": ActionStatus.REJECTED,
    "cancel": ActionStatus.CANCELLED,
}
DEFINITE = (409, 404, None)
"""How who comes too late is answered: it was decided, or withdrawn before it was open."""

OPEN_SECONDS = 7.0
"""How long an approval may be open before people are asked, where nothing is broken."""

AFTERMATH_SECONDS = 30.0
"""How long after a fault something may still be broken: a half-open connection to the broker is
noticed after 20 s."""

DROPPED = ("approval.requested", "approval.answered")
"""What need not be told any more when it has been decided."""

TOLD_BY_MAIL = ("alex", "sam")
"""The reviewers of the groups that the policies ask."""


def check(journal: Journal, snapshot: Snapshot) -> dict[Invariant, list[str]]:
    """Return what breaks each invariant, in words; empty lists if all hold."""
    return {invariant: list(find(journal, snapshot)) for invariant, find in _CHECKS.items()}


def _one_outcome(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    heard = {(entry.listener, entry.record_id) for entry in journal.of(Heard)}
    for asked in journal.of(Asked):
        record = snapshot.records.get(asked.record_id)
        if not isinstance(record, Action | Approval):
            yield f"{asked.record_id} was accepted and is gone"
            continue
        for listener in ("agent", "feed"):
            if (listener, asked.record_id) not in heard:
                yield f"{asked.record_id}: its {listener} never heard an outcome"
        if record.context["amount"] != asked.amount:
            yield f"{asked.record_id} asked for {asked.amount}, not {record.context['amount']}"
        if asked.has_callback != bool(record.callback_url):
            yield f"{asked.record_id}: that it is to be called back was lost"
        if isinstance(record, Action) and record.judgement is not None:
            is_allowed = record.judgement.verdict is Verdict.ALLOW
            if is_allowed != asked.is_allowed:
                yield f"{asked.record_id}: the verdict is {record.judgement.verdict}"
    known = {asked.record_id for asked in journal.of(Asked)}
    for record in snapshot.asked:
        is_source = isinstance(record, Action) or record.action_id is None
        if is_source and record.id not in known:
            yield f"{record.id} was never asked for, or asked for once and made twice"
        outcome = record.outcome
        if outcome is None or not record.status.is_final or outcome.status is not record.status:
            yield f"{record.id} has not ended: {record.status}, outcome {outcome}"
        elif isinstance(record, Approval):
            yield from _ended_in_time(record, outcome)
            yield from _carried_over(record, outcome, snapshot)


def _ended_in_time(record: Approval, outcome: Outcome) -> Iterator[str]:
    """Deadlines are judged by the store's clock, whatever the services' clocks say."""
    if outcome.status is ActionStatus.CANCELLED:
        return
    is_late = outcome.decided_at >= record.expires_at
    if is_late != (outcome.status is ActionStatus.TIMED_OUT):
        yield f"{record.id}: {outcome.status} at {outcome.decided_at}, due {record.expires_at}"


def _carried_over(record: Approval, outcome: Outcome, snapshot: Snapshot) -> Iterator[str]:
    if record.action_id is None:
        return
    action = snapshot.records.get(record.action_id)
    if not isinstance(action, Action) or action.outcome != outcome:
        yield f"{record.id}: its action has another outcome, or is gone"


def _no_response_lost(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    said = {(e.approval_id, e.what, e.who, e.words) for e in journal.of(Answered)}
    for asked in snapshot.asked:
        outcome = asked.outcome
        if isinstance(asked, Approval) and outcome and outcome.decided_by in TOLD_BY_MAIL:
            what = next(what for what, status in STATUS_AFTER.items() if status is outcome.status)
            if (asked.id, what, outcome.decided_by, outcome.comments) not in said:
                yield f"{asked.id}: {outcome.decided_by} never said what stands there"
    for answered in journal.of(Answered):
        if not answered.is_accepted:
            if answered.status not in DEFINITE:
                yield f"{answered.approval_id}: {answered.who} was refused: {answered.status}"
            continue
        record = snapshot.records.get(answered.approval_id)
        if answered.what == "cancel" and not isinstance(record, Approval):
            # Withdrawn before its approval was open: then it is the action that ended so.
            record = snapshot.records.get(answered.approval_id.replace("apr_", "act_"))
        if not isinstance(record, Action | Approval) or not _stands(answered, record):
            yield f"{answered.approval_id}: {answered.what} by {answered.who} was accepted and lost"


def _stands(answered: Answered, record: Action | Approval) -> bool:
    """Tell whether the record says what was answered."""
    if answered.what in STATUS_AFTER:
        outcome = record.outcome
        if outcome is None or outcome.status is not STATUS_AFTER[answered.what]:
            return False
        if answered.what == "cancel":
            return True
        found = (outcome.decided_by, outcome.comments, outcome.modifications)
        return found == (answered.who, answered.words, answered.modifications)
    questions = record.questions if isinstance(record, Approval) else ()
    if answered.what == "ask":
        return any((q.asked_by, q.question) == (answered.who, answered.words) for q in questions)
    return any(q.answer == answered.words for q in questions)


def _resolved_once(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    for record in snapshot.asked:
        events = [line.event for line in snapshot.histories[record.id].values()]
        ends = [e for e in events if e in FINAL_EVENTS] if isinstance(record, Approval) else []
        if len(ends) > 1:
            yield f"{record.id} was resolved more than once: {ends}"
    told: Counter[str] = Counter()
    for entry in snapshot.feed:
        if isinstance(entry, Outcome):
            told.update(i for i in (entry.action_id, entry.approval_id) if i)
    for record_id, times in told.items():
        if times > 1:
            yield f"{record_id}: the feed has {times} outcomes"
    heard_in_feed: Counter[str] = Counter()
    for heard in journal.of(Heard):
        outcome = Outcome.model_validate(heard.outcome)
        found = snapshot.records.get(heard.record_id)
        if not isinstance(found, Action | Approval) or found.outcome != outcome:
            yield f"{heard.record_id}: the {heard.listener} heard {outcome.status}, which is not so"
        if heard.listener == "feed":
            heard_in_feed[heard.record_id] += 1
    for record_id, times in heard_in_feed.items():
        if times > 1:
            yield f"{record_id}: its outcome was heard {times} times"


def _everybody_told(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    arrivals: defaultdict[str, list[Arrived]] = defaultdict(list)
    for arrived in journal.of(Arrived):
        arrivals[arrived.delivery_id].append(arrived)
    faults = list(journal.of(Struck))
    planned: defaultdict[tuple[str, str], Counter[tuple[str, str | None]]] = defaultdict(Counter)
    for delivery in snapshot.deliveries:
        recipient = (delivery.channel, delivery.reviewer_id)
        planned[delivery.source_id, delivery.event][recipient] += 1
        yield from _delivered(delivery, arrivals.pop(delivery.id, []), faults, snapshot)
    for delivery_id in arrivals:
        yield f"{delivery_id} arrived, and there is no such delivery"
    waited = _waited_in_peace(journal, faults)
    for record in snapshot.asked:
        yield from _planned(record, planned, snapshot, waited)


def _waited_in_peace(journal: Journal, faults: list[Struck]) -> set[str]:
    """Return what was open for so long, with nothing broken, that people must have been asked."""
    asked_at = {asked.record_id: asked.at for asked in journal.of(Asked)}
    waited = set()
    for heard in journal.of(Heard):
        since = asked_at.get(heard.record_id)
        if heard.listener != "feed" or since is None or heard.at - since < OPEN_SECONDS:
            continue
        before = since - AFTERMATH_SECONDS
        if not any(fault.until > before and fault.at < heard.at for fault in faults):
            waited.add(twin_id("apr", heard.record_id))
    return waited


def _delivered(
    delivery: Delivery, arrived: list[Arrived], faults: list[Struck], snapshot: Snapshot
) -> Iterator[str]:
    taken = sorted(entry.at for entry in arrived if entry.is_taken)
    source = snapshot.records.get(delivery.source_id)
    ended = source.outcome if isinstance(source, Action | Approval) else None
    for entry in arrived:
        if entry.channel != delivery.channel:
            yield f"{delivery.id} is for {delivery.channel} and came by {entry.channel}"
        if entry.channel == "email" and entry.address != f"{delivery.reviewer_id}@example.com":
            yield f"{delivery.id} is for {delivery.reviewer_id} and came to {entry.address}"
        if delivery.event.endswith(".resolved") and (ended is None or entry.says != ended.status):
            yield f"{delivery.id} says {entry.says}, which is not so"
    if delivery.status is DeliveryStatus.SENT and not taken:
        yield f"{delivery.id} is said to be sent and never arrived"
    if delivery.status is DeliveryStatus.DEAD and not any(entry.is_refused for entry in arrived):
        yield f"{delivery.id} was given up, and nobody refused it"
    is_dropped = delivery.status is DeliveryStatus.MOOT
    if is_dropped and (delivery.event not in DROPPED or ended is None):
        yield f"{delivery.id} ({delivery.event}) was dropped, and is still to be told"
    if len(taken) > 1:
        crashes = sum(fault.until >= taken[0] - 1 and fault.at <= taken[-1] for fault in faults)
        if len(taken) - 1 > crashes:
            yield f"{delivery.id} came {len(taken)} times in {crashes} crashes"


def _planned(
    record: Action | Approval,
    planned: Mapping[tuple[str, str], Counter[tuple[str, str | None]]],
    snapshot: Snapshot,
    waited: Set[str],
) -> Iterator[str]:
    """Yield what should have been planned, and was not, or twice."""
    if isinstance(record, Action):
        # Where people were asked, it is the approval's outcome that is told.
        asked = record.approval_id in snapshot.records
        due = {"action.resolved"} if record.callback_url and not asked else set()
    else:
        lines = snapshot.histories[record.id].values()
        # A question that was answered before anybody could be told is told to nobody.
        told = {event for line in lines for event in line.detail.get("events", ())}
        due = {"approval.resolved"} | (told & set(DROPPED))
        if record.id in waited:
            due.add("approval.requested")
    for event in due:
        wanted = _recipients(record, event)
        if event in DROPPED and event in _said_along(record, snapshot):
            wanted = Counter({to: n for to, n in wanted.items() if to[0] != "email"})
        found = planned.get((record.id, event), Counter())
        if event == "approval.resolved":
            mailed = {to: n for to, n in found.items() if to[0] == "email"}
            found = Counter({to: n for to, n in found.items() if to not in mailed})
            yield from _outcome_mailed(record, mailed, snapshot)
        if found != wanted:
            yield f"{record.id} {event}: planned for {dict(found)}, due for {dict(wanted)}"


def _said_along(record: Action | Approval, snapshot: Snapshot) -> set[str]:
    """Return what people were told only along with something else: asked for several reasons at
    once, they get one message, for the first of them."""
    along: set[str] = set()
    first: set[str] = set()
    for line in snapshot.histories[record.id].values():
        asking = [event for event in line.detail.get("events", ()) if event in DROPPED]
        first.update(asking[:1])
        along.update(asking[1:])
    return along - first


def _outcome_mailed(
    record: Action | Approval, mailed: Mapping[tuple[str, str | None], int], snapshot: Snapshot
) -> Iterator[str]:
    """Yield who should have been told by mail how it ended, and was not; or was, for no reason."""
    if record.outcome is None:
        return
    asked: set[str | None] = set()
    asked_before: set[str | None] = set()
    for delivery in snapshot.deliveries:
        if (delivery.source_id, delivery.channel, delivery.asks) == (record.id, "email", True):
            asked.add(delivery.reviewer_id)
            ended = [a.ended_at for a in delivery.attempts if a.ended_at and not a.error]
            if delivery.status is DeliveryStatus.SENT and min(ended) < record.outcome.decided_at:
                asked_before.add(delivery.reviewer_id)
    others = {record.outcome.decided_by}
    told = {reviewer for _, reviewer in mailed}
    if not asked_before - others <= told <= asked - others:
        yield f"{record.id}: {told} were mailed how it ended; asked were {asked_before}, {asked}"
    if any(times > 1 for times in mailed.values()):
        yield f"{record.id}: somebody was mailed twice how it ended: {dict(mailed)}"


def _recipients(record: Action | Approval, event: str) -> Counter[tuple[str, str | None]]:
    """Return who is told of an event, each once."""
    channels = record.terms.channels if isinstance(record, Approval) else ()
    wanted: Counter[tuple[str, str | None]] = Counter()
    if event.endswith(".resolved") and record.callback_url:
        wanted["callback", None] += 1
    if "webhook" in channels:
        wanted["webhook", None] += 1
    if "email" in channels and not event.endswith(".resolved"):
        wanted.update(("email", reviewer) for reviewer in TOLD_BY_MAIL)
    return wanted


def _history_whole(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    for record in snapshot.records.values():
        lines = snapshot.histories[record.id]
        if sorted(lines) != list(range(1, record.revision + 1)):
            yield f"{record.id}: revision {record.revision} with lines {sorted(lines)}"
            continue
        yield from _chained(record, [lines[number] for number in sorted(lines)])


def _chained(record: Record, lines: list[Any]) -> Iterator[str]:
    previous, before = NO_HASH, lines[0].at
    for number, line in enumerate(lines, 1):
        if line.sequence != number or line.previous != previous or line.at < before:
            yield f"{record.id}: line {number} does not follow from the one before"
        if history_hash(line) != line.hash:
            yield f"{record.id}: line {number} is not what was hashed"
        previous, before = line.hash, line.at
    if record.history_hash != previous:
        yield f"{record.id} does not name its last line"


def _nothing_left(journal: Journal, snapshot: Snapshot) -> Iterator[str]:
    for service, due in snapshot.agendas.items():
        yield from (f"{record_id} is still on the agenda of {service}" for record_id in due)
    for queue, length in snapshot.queues.items():
        if length:
            yield f"the queue {queue} holds {length}"
    indexed: defaultdict[str, set[str]] = defaultdict(set)
    for record in snapshot.records.values():
        for name in record.indexes():
            indexed[name].add(record.id)
        if record.outbox:
            yield f"{record.id} has an outbox: {[entry.event for entry in record.outbox]}"
        if isinstance(record, Delivery) and not record.status.is_final:
            yield f"{record.id} is neither sent nor given up: {record.status}"
        if isinstance(record, Delivery) and record.source_id not in snapshot.records:
            yield f"{record.id} tells of {record.source_id}, which is gone"
    for name in {*indexed, *snapshot.indexes}:
        odd = indexed[name] ^ snapshot.indexes.get(name, set())
        yield from (f"{record_id} is wrongly in or out of the list {name}" for record_id in odd)
    ranked: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for record in snapshot.records.values():
        for name, rank in record.ranks().items():
            ranked[name][record.id] = rank
    for name in {*ranked, *snapshot.ranks}:
        wrong = dict(ranked[name].items() ^ snapshot.ranks.get(name, {}).items())
        yield from (f"{record_id} is wrongly placed in the list {name}" for record_id in wrong)
    for claim, value in snapshot.claims.items():
        if value.partition(" ")[0] not in snapshot.records:
            yield f"{claim} is for {value}, which is gone"
    yield from (f"{stray} belongs to nothing" for stray in snapshot.strays)
    yield from (f"{i} was set aside" for i in snapshot.records if i.startswith("msg_"))


_CHECKS: dict[Invariant, Callable[[Journal, Snapshot], Iterator[str]]] = {
    Invariant.ONE_OUTCOME: _one_outcome,
    Invariant.NO_RESPONSE_LOST: _no_response_lost,
    Invariant.RESOLVED_ONCE: _resolved_once,
    Invariant.EVERYBODY_TOLD: _everybody_told,
    Invariant.HISTORY_WHOLE: _history_whole,
    Invariant.NOTHING_LEFT: _nothing_left,
}
