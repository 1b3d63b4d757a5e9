"""The notifier's Celery application: `celery -A services.notifier.app worker -Q <queues>`."""

from safeguards.notifications.fenced_http import FencedHttp
from safeguards_runtime.channels import ChannelLoader
from safeguards_runtime.reloading import Reloaded, watched
from safeguards_runtime.rules import rules_in_force
from safeguards_runtime.topology import Service, Task
from safeguards_runtime.worker import Worker
from services.notifier.planner import Planner
from services.notifier.sending import Pace, Sender

worker = Worker(Service.NOTIFIER)
app = worker.app
settings = worker.settings

channels = watched(
    Reloaded(
        settings.channels_file,
        ChannelLoader(allow_private=settings.allow_private_webhooks),
        name="channels",
    )
)
rules = rules_in_force(settings)
planner = Planner(worker.store, worker.hints, channels, rules)
sender = Sender(
    store=worker.store,
    channels=channels,
    callbacks=FencedHttp(allow_private=settings.allow_private_webhooks),
    rules=rules,
    public_url=settings.public_url,
    pace=Pace(
        settings.messages_per_window,
        settings.messages_per_agent,
        settings.message_window_seconds,
    ),
)


@app.task(name=Task.PLAN.value)
def plan(ids: list[str]) -> None:
    """Look at these actions, approvals and deliveries."""
    worker.run(planner.plan(ids))


@app.task(name=Task.SEND_EMAIL.value)
def send_email(ids: list[str]) -> None:
    """Send these deliveries by mail."""
    worker.run(sender.send("email", ids))


@app.task(name=Task.SEND_SLACK.value)
def send_slack(ids: list[str]) -> None:
    """Send these deliveries to Slack."""
    worker.run(sender.send("slack", ids))


@app.task(name=Task.SEND_WEBHOOK.value)
def send_webhook(ids: list[str]) -> None:
    """Send these deliveries as webhooks."""
    worker.run(sender.send("webhook", ids))


@app.task(name=Task.SEND_CALLBACK.value)
def send_callback(ids: list[str]) -> None:
    """Post these deliveries to agents' own addresses. Nobody waits for those: agents choose them,
    and must not keep the worker from other people's messages."""
    worker.start(sender.send("callback", ids))


@app.task(name=Task.SEND_OTHER.value)
def send_other(ids: list[str]) -> None:
    """Send these deliveries to the log, or through channels of one's own."""
    worker.run(sender.send("other", ids))
