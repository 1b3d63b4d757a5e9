"""The approval-tracker's Celery application: `celery -A services.approval_tracker.app worker`."""

from safeguards_runtime.topology import Service, Task
from safeguards_runtime.worker import Worker
from services.approval_tracker.advancing import advance

worker = Worker(Service.TRACKER)
app = worker.app


@app.task(name=Task.ADVANCE.value)
def advance_approvals(ids: list[str]) -> None:
    """Look at these actions and approvals."""
    worker.run(advance(worker.store, ids))
