"""For whom a safeguard that keeps losing its process is out of service: one agent, or all."""

from __future__ import annotations

import time

from safeguards_runtime.isolated_process import IsolatedError

MAX_LOST = 3
"""After how many processes lost in a row a safeguard is out of service."""

OUT_OF_SERVICE_SECONDS = 30.0


class Outages:
    """What the lost processes of one safeguard lead to.

    It is out of service for the agent in whose checks they were lost in a row, so that no agent
    has the actions of others asked about. It is so for all where they were lost to several agents,
    with no answer between. Afterwards it is on trial: until it answers.
    """

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}
        self._lost_in_a_row = 0
        self._lost_to: set[str] = set()
        self._all_out_until = 0.0
        self._out_until: dict[str, float] = {}

    @property
    def is_on_trial(self) -> bool:
        """Whether it has not answered since it was out of service for all."""
        return self._all_out_until > 0

    def is_on_trial_for(self, agent_id: str) -> bool:
        """Tell whether it has not answered since it was out of service for an agent."""
        return agent_id in self._out_until

    def refuse(self, agent_id: str) -> None:
        """Refuse a check while it is out of service.

        Raises:
            IsolatedError: it is, for this agent or for all.
        """
        now = time.monotonic()
        for until, whose in (
            (self._all_out_until, ""),
            (self._out_until.get(agent_id, 0.0), " on actions of this agent"),
        ):
            if now < until:
                raise IsolatedError(
                    f"is out of service for {until - now:.0f} s: it failed again and again{whose}"
                )

    def answered(self, agent_id: str) -> None:
        """Count an answer to an agent's check."""
        self._lost.pop(agent_id, None)
        self._out_until.pop(agent_id, None)
        self._all_out_until = 0.0
        self._forget_the_row()

    def lost(self, agent_id: str) -> None:
        """Count a process that was lost in an agent's check."""
        self._lost[agent_id] = self._lost.get(agent_id, 0) + 1
        if self._lost[agent_id] >= MAX_LOST:
            self._out_until[agent_id] = time.monotonic() + OUT_OF_SERVICE_SECONDS
        self._lost_in_a_row += 1
        self._lost_to.add(agent_id)
        if self._lost_in_a_row >= MAX_LOST and len(self._lost_to) > 1:
            self.end_for_all()

    def end_for_all(self) -> None:
        """Put it out of service for all. What is lost on trial is counted anew: one agent alone
        does not keep it there."""
        self._all_out_until = time.monotonic() + OUT_OF_SERVICE_SECONDS
        self._forget_the_row()

    def _forget_the_row(self) -> None:
        self._lost_in_a_row = 0
        self._lost_to.clear()
