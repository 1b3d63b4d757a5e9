"""What a plan is made in: channels, reviewers, and the deliveries so far. No store, no channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from safeguards.types import AlertSeverity
from safeguards_runtime.records import Action, Approval, Change, Delivery, Record
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.records.terms import Escalation
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.topology import Service
from services.notifier import planning
from services.notifier.routing import Route, World
from tests.runtime.samples import NOW, TERMS, asked, done, responded

EMAIL = Route("email", "email", "person", "people", False, AlertSeverity.INFO)
SMS = Route("sms", "sms", "person", "people", False, AlertSeverity.INFO)
ROOM = Route("room", "slack", "place", "people", False, AlertSeverity.INFO)
HOOK = Route("hook", "webhook", "place", "programs", False, AlertSeverity.INFO)
LOG = Route("log", "log", "place", "nobody", False, AlertSeverity.INFO)
ROUTES = {route.name: route for route in (EMAIL, SMS, ROOM, HOOK, LOG)}


def people(**given: dict[str, Any]) -> Directory:
    """Return a directory of people by id, reviewers with a mail address and a telephone unless
    they say otherwise."""
    reviewers = [
        {
            "id": i,
            "name": i.title(),
            "email": f"{i}@example.test",
            "addresses": {"sms": f"+{number}"},
            "groups": ["reviewers"],
            **own,
        }
        for number, (i, own) in enumerate(given.items(), 1)
    ]
    return Directory.model_validate({"version": 1, "reviewers": reviewers})


def approval(*channels: str, order: str = "all", **terms: Any) -> Approval:
    """Return an open approval whose people are told by `channels`."""
    update = {"channels": channels, "order": order, **terms}
    return asked(terms=TERMS.model_copy(update=update))


def step(seconds: int, *groups: str, channels: tuple[str, ...] = ()) -> Escalation:
    """Return a step of an escalation chain."""
    return Escalation(after_seconds=seconds, groups=groups, channels=channels)


def owing(record: Approval, *events: str, now: datetime = NOW, **update: Any) -> Approval:
    """Return the approval with only `events` for the notifier to take over."""
    record = record.model_copy(update={**update, "outbox": ()})
    for event in events:
        record = record.posted(now, Service.NOTIFIER, event)
    return record


class Told:
    """A record and its deliveries as they come to be, plan by plan.

    Args:
        record: what people are told of.
        directory: the reviewers.
        routes: the channels; all of the above unless given.
    """

    def __init__(
        self,
        record: Action | Approval,
        directory: Directory,
        routes: Iterable[Route] = ROUTES.values(),
    ) -> None:
        self.record: Action | Approval = record
        self.deliveries: dict[str, Delivery] = {}
        self.world = World({route.name: route for route in routes}, directory, NOW)

    @property
    def approval(self) -> Approval:
        """The record, which is an approval."""
        assert isinstance(self.record, Approval)
        return self.record

    def seen(self, now: datetime | None = None) -> World:
        """Return the world as it now is."""
        self.world = replace(self.world, now=now or self.world.now)
        return replace(self.world, siblings=tuple(self.deliveries.values()))

    def plan(self, now: datetime | None = None) -> list[Delivery]:
        """Plan what the record owes, and return what was made."""
        return self._store(planning.plan(self.record, self.seen(now)))

    def happens(self, *events: str, **update: Any) -> list[Delivery]:
        """Let events come to pass, plan them, and return what was made."""
        self.record = owing(self.approval, *events, **update)
        return self.plan()

    def sent(self, one: Delivery, reference: str | None = None) -> list[Delivery]:
        """Let a delivery arrive, and return what follows from it."""
        begun = done(delivery_rules.start(one, one.next_attempt_at, None), Delivery)
        ended = delivery_rules.succeed(begun, len(begun.attempts), self.world.now, reference)
        return self.settle(done(ended, Delivery))

    def failed(self, one: Delivery, *, permanent: bool = False) -> list[Delivery]:
        """Let an attempt fail, and return what follows from it."""
        return self.settle(failing(one, permanent=permanent))

    def settle(self, one: Delivery) -> list[Delivery]:
        """Put a delivery in the place of what it was, and do what follows from it."""
        self.deliveries[one.id] = one
        return self._store(planning.follow(one, self.record, self.seen()))

    def missed(self) -> bool:
        """Tell whether it is noted that nobody was reached."""
        return self.approval.unreached_at is not None

    def _store(self, changes: Sequence[Change] | None) -> list[Delivery]:
        made = []
        for change in changes or ():
            stored: Record = change.sealed()[0]
            if isinstance(stored, Delivery):
                assert (change.before is None) == (stored.id not in self.deliveries)
                self.deliveries[stored.id] = stored
                made += [stored] if change.before is None else []
            elif isinstance(stored, Action | Approval):
                self.record = stored
        return made


def failing(one: Delivery, *, permanent: bool = False) -> Delivery:
    """Return a delivery after one more attempt, which failed."""
    begun = done(delivery_rules.start(one, one.next_attempt_at, None), Delivery)
    change = delivery_rules.fail(
        begun,
        len(begun.attempts),
        begun.attempts[-1].started_at,
        error="refused",
        permanent=permanent,
    )
    return done(change, Delivery)


def names(made: Iterable[Delivery]) -> list[str]:
    """Return deliveries as `channel` or `channel:reviewer`, sorted."""
    return sorted(f"{d.channel}:{d.reviewer_id}" if d.reviewer_id else d.channel for d in made)


def one_of(made: Iterable[Delivery], name: str) -> Delivery:
    """Return the only delivery of that name."""
    (found,) = [d for d in made if name in names([d])]
    return found


def decided(record: Approval, by: str = "alex") -> Approval:
    """Return the approval after a decision, its outcome owed to the notifier."""
    return responded(record, "approve", reviewer=by)
