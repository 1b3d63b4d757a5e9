"""What `make run` does around the services: the folder, the ports, the settings, the servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest
import redis
import yaml

from deploy.demo_reviewer import PASSWORD_FILE, ensure_password
from deploy.local import AGENT_KEY_FILE, ENV_FILE, REVIEWER_KEY_FILE, prepare, services
from deploy.valkey import ValkeyServer, free_port
from safeguards.errors import ConfigurationError
from safeguards_runtime.settings import PREFIX, load_settings
from tests.deploy.running import Running, eventually


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A data folder with the demo's keys kept from an earlier run, and ports that are free."""
    folder = tmp_path / "data"
    (folder / "store").mkdir(parents=True)
    for name in (AGENT_KEY_FILE, REVIEWER_KEY_FILE):
        key = {"key_id": "key_1", "api_key": "secret", "store": "embedded"}
        (folder / name).write_text(json.dumps(key))
    settings = {f"{PREFIX}DATA_DIR": str(folder)}
    for name in ("GATEWAY_PORT", "FLOWER_PORT", "MAIL_PAGE_PORT", "SMTP_PORT"):
        settings[f"{PREFIX}{name}"] = str(free_port())
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return settings


def local(environment: dict[str, str], **changed: str) -> Running:
    return Running(["-m", "tests.deploy.local_stack"], {**environment, **changed})


def store_of(environment: dict[str, str]) -> redis.Redis:
    """A client of the running store, found as a second terminal finds it."""
    settings = load_settings(Path(environment[f"{PREFIX}DATA_DIR"]) / ENV_FILE)
    return redis.Redis.from_url(settings.store_url, decode_responses=True)


def test_a_second_terminal_finds_the_store_which_outlives_the_stack(
    environment: dict[str, str],
) -> None:
    env_file = Path(environment[f"{PREFIX}DATA_DIR"]) / ENV_FILE
    for expected in (None, "kept"):
        with local(environment) as running:
            running.position("Safeguards is running")
            assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
            with store_of(environment) as store:
                assert store.get("word") == expected
                store.set("word", "kept")
            running.send(signal.SIGINT)
            assert running.wait() == 0
        assert not env_file.exists()


def test_the_user_is_told_where_to_look(environment: dict[str, str]) -> None:
    with local(environment) as running:
        running.position("make demo")
        for name, path in (
            ("GATEWAY", "/docs"),
            ("MAIL_PAGE", " "),
            ("FLOWER", "   user operator"),
        ):
            running.position(f"http://127.0.0.1:{environment[f'{PREFIX}{name}_PORT']}{path}")
        running.position(REVIEWER_KEY_FILE)


def test_the_reviewers_password_is_made_once_and_printed_while_it_holds(
    environment: dict[str, str],
) -> None:
    kept = Path(environment[f"{PREFIX}DATA_DIR"]) / PASSWORD_FILE
    printed = []
    for _ in range(2):
        with local(environment) as running:
            told = running.match(r"Console +http://\S+   sign in as alex, password (\S{20})$")
            printed.append(told[1])
    assert printed[0] == printed[1]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with local(environment) as running:
        running.position("Safeguards is running")
        kept.unlink()
        url = load_settings(Path(environment[f"{PREFIX}DATA_DIR"]) / ENV_FILE).store_url
        # As when Alex has changed it: what is not in force is not printed.
        assert asyncio.run(ensure_password(url, 0, kept)) is None
        assert not kept.exists()


def test_with_own_reviewers_there_is_no_password_of_ours(
    environment: dict[str, str], tmp_path: Path
) -> None:
    people = {"id": "kim", "name": "Kim", "groups": ["reviewers"]}
    own = tmp_path / "reviewers.yaml"
    own.write_text(yaml.safe_dump({"version": 1, "reviewers": [people]}))
    with local(environment, SAFEGUARDS_REVIEWERS_FILE=str(own)) as running:
        running.position(r"Console .*`safeguards-admin reviewers set-password ID`")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ISSUER": "https://login.example"}, "CLIENT_ID go together"),
        ({"ISSUER": "http://login.example", "CLIENT_ID": "a"}, "is no https URL"),
        ({"ISSUER": "login.example", "CLIENT_ID": "a"}, "is no https URL"),
        ({"CLIENT_SECRET": "a"}, "goes with SAFEGUARDS_OIDC_ISSUER"),
    ],
)
def test_an_openid_provider_is_named_whole(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    words: str,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"{PREFIX}OIDC_{name}", value)
    with pytest.raises(ConfigurationError, match=words):
        load_settings()


def test_a_killed_store_comes_back_on_its_port_with_its_data(environment: dict[str, str]) -> None:
    with local(environment) as running:
        running.position("Safeguards is running")
        with store_of(environment) as store:
            store.set("word", "kept")
            os.kill(int(store.info("server")["process_id"]), signal.SIGKILL)
            running.position(r"store ended \(killed by SIGKILL\); it starts again")

            def is_back() -> bool:
                try:
                    return bool(store.get("word") == "kept")
                except redis.RedisError:
                    return False

            eventually(is_back, "the store's return")


def test_a_store_that_the_user_names_is_used(environment: dict[str, str], tmp_path: Path) -> None:
    folder = Path(environment[f"{PREFIX}DATA_DIR"])
    with ValkeyServer.store(tmp_path / "theirs") as server:
        place = server.url.rpartition("@")[2]
        for name in (AGENT_KEY_FILE, REVIEWER_KEY_FILE):  # made in that store
            (folder / name).write_text(json.dumps({"api_key": "secret", "store": place}))
        with local(environment, SAFEGUARDS_STORE_URL=server.url) as running:
            running.position("Safeguards is running")
            running.position(rf"gateway +\| store {place}$")
            assert "store is ready" not in running.output


def test_a_second_stack_on_the_same_folder_is_refused(environment: dict[str, str]) -> None:
    with local(environment) as running:
        running.position("Safeguards is running")
        with local(environment) as second:
            assert second.wait() == 1
            assert len(second.lines) == 1
            assert f"process {running.process.pid}" in second.output
            assert f"{PREFIX}DATA_DIR" in second.output


def test_a_store_that_outlived_its_supervisor_keeps_the_folder(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel does not end it with its parent, as on macOS."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stack = prepare(load_settings())
    inherited = os.dup(stack.lock)  # as the store has it
    os.close(stack.lock)
    try:
        with local(environment) as second:
            assert second.wait() == 1
            assert "another stack holds the data folder" in second.output
    finally:
        os.close(inherited)


def test_a_taken_port_is_named_with_the_setting_that_gives_another(
    environment: dict[str, str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"SAFEGUARDS_GATEWAY_PORT": port, "SAFEGUARDS_SMTP_PORT": port}
        with local(environment, **ports) as running:
            assert running.wait() == 1
            assert (
                f"error: port {port}, for the gateway and its console, is taken" in running.output
            )
            assert "set SAFEGUARDS_GATEWAY_PORT to use another" in running.output
            assert f"port {port} is given to both the gateway" in running.output
            assert "Traceback" not in running.output


def test_a_misspelt_setting_is_named(environment: dict[str, str]) -> None:
    with local(environment, SAFEGUARDS_GATEWAY_PROT="8001") as running:
        assert running.wait() == 1
        assert running.lines == [
            "error: unknown settings in the environment: "
            "SAFEGUARDS_GATEWAY_PROT (did you mean SAFEGUARDS_GATEWAY_PORT?)"
        ]


def test_no_secret_is_on_a_command_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stack = prepare(load_settings())
    os.close(stack.lock)
    assert stack.store is not None
    assert stack.broker is not None
    secrets = [stack.flower_password, stack.store.url, stack.broker.url]
    for spec in services(stack):
        assert not any(secret in argument for secret in secrets for argument in spec.argv)
        assert not any(secret in repr(spec) for secret in secrets)


def test_the_channels_lead_to_the_mail_catcher(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stack = prepare(load_settings())
    os.close(stack.lock)
    channels = yaml.safe_load(Path(stack.overrides[f"{PREFIX}CHANNELS_FILE"]).read_text())
    assert channels["channels"]["email"]["config"]["smtp_port"] == stack.settings.smtp_port


def test_the_demo_says_what_to_start_first(environment: dict[str, str]) -> None:
    with Running(["-m", "deploy.demo"], environment) as running:
        assert running.wait() == 1
        assert "Start the stack first with `make run`" in running.output
        assert "Traceback" not in running.output
