"""The approval-tracker's Celery application: `celery -A services.approval_tracker.app worker`."""

from safeguards_runtime.rules import rules_in_force
from safeguards_runtime.topology import Service, Task
from safeguards_runtime.worker import Worker
from services.approval_tracker.advancing import advance

worker = Worker(Service.TRACKER)
app = worker.app
rules = rules_in_force(worker.settings)


@app.task(name=Task.ADVANCE.value)
def advance_approvals(ids: list[str]) -> None:
    """Look at these actions and approvals."""
    worker.run(advance(worker.store, ids, rules.current.directory))
