"""The notifier's Celery application: `celery -A services.notifier.app worker -Q <queues>`."""

from safeguards.notifications.fenced_http import FencedHttp
from safeguards_runtime.channels import load_channels
from safeguards_runtime.reviewers import load_directory
from safeguards_runtime.topology import Service, Task
from safeguards_runtime.worker import Worker
from services.notifier.sending import Notifier

worker = Worker(Service.NOTIFIER)
app = worker.app

notifier = Notifier(
    store=worker.store,
    hints=worker.hints,
    channels=load_channels(
        worker.settings.channels_file, allow_private=worker.settings.allow_private_webhooks
    ),
    callbacks=FencedHttp(allow_private=worker.settings.allow_private_webhooks),
    directory=load_directory(worker.settings.reviewers_file),
    public_url=worker.settings.public_url,
)


@app.task(name=Task.PLAN.value)
def plan(ids: list[str]) -> None:
    """Look at these actions, approvals and deliveries."""
    worker.run(notifier.plan(ids))


@app.task(name=Task.SEND_EMAIL.value)
def send_email(ids: list[str]) -> None:
    """Send these deliveries by mail."""
    worker.run(notifier.send("email", ids))


@app.task(name=Task.SEND_SLACK.value)
def send_slack(ids: list[str]) -> None:
    """Send these deliveries to Slack."""
    worker.run(notifier.send("slack", ids))


@app.task(name=Task.SEND_WEBHOOK.value)
def send_webhook(ids: list[str]) -> None:
    """Send these deliveries as webhooks, or to the log."""
    worker.run(notifier.send("webhook", ids))
