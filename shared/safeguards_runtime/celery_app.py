"""The application for tools that only watch: Flower, `celery inspect`."""

from safeguards_runtime.messaging import make_app
from safeguards_runtime.settings import load_settings

app = make_app(load_settings())
# It consumes none of our queues; and Flower knows a broker's kind by Kombu's own transport only.
app.conf.broker_transport = None
