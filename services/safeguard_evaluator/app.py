"""The evaluator's Celery application: `celery -A services.safeguard_evaluator.app worker`."""

from safeguards_runtime.rules import rules_in_force
from safeguards_runtime.topology import Queue, Service, Task
from safeguards_runtime.worker import Worker
from services.safeguard_evaluator.evaluation import Evaluator

worker = Worker(Service.EVALUATOR)
app = worker.app


async def _set_aside(publication: bytes, reason: str) -> None:
    await worker.keep_aside(Queue.ACTIONS.value, publication, reason, is_publication=True)


evaluator = Evaluator(worker.store, rules_in_force(worker.settings), _set_aside)


@app.task(name=Task.EVALUATE.value)
def evaluate(entries: list[str]) -> None:
    """Look at these actions, approvals with new arguments, and grants whose time is up."""
    worker.run(evaluator.evaluate(entries))
