"""Reviewers and policies that change while everything runs: no restart, and no mistake in force."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from safeguards.types import ActionStatus
from tests.deploy.running import eventually
from tests.receivers.mail import ReceivedMail
from tests.stack import REVIEWERS, Stack


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, since its files change."""
    with Stack(tmp_path_factory.mktemp("changing"), channels=("email",)) as running:
        yield running


def file_of(stack: Stack, name: str) -> Path:
    return Path(stack.environment[f"SAFEGUARDS_{name.upper()}_FILE"])


def with_reviewers(*ids: str) -> str:
    """Return the reviewers file with further people."""
    more = [
        {"id": i, "name": i.title(), "email": f"{i}@example.com", "groups": ["reviewers"]}
        for i in ids
    ]
    content: dict[str, Any] = {**REVIEWERS}
    content["reviewers"] = [*content["reviewers"], *more]
    return yaml.safe_dump(content)


def refused_files(stack: Stack) -> set[str]:
    """Return which files the gateway's metrics show as refused."""
    metrics = httpx2.get(f"{stack.url}/metrics", timeout=30).text
    return set(re.findall(r'^safeguards_configuration_error\{file="(.+)"\} 1', metrics, re.M))


def can_answer(stack: Stack, reviewer: str) -> bool:
    """Tell whether a reviewer gets an answer to a new request through, as its outcome has it."""
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay ACME", {"amount": "2500.00"})
    response = stack.respond(asked.id, reviewer, response="approve")
    if response.status_code == 403:
        return False
    assert response.is_success, response.text
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.APPROVED, reviewer)
    return True


def test_a_new_reviewer_answers_and_is_told_without_a_restart(changing: Stack) -> None:
    file_of(changing, "reviewers").write_text(with_reviewers("kim"))
    changing.reviewer_keys["kim"] = changing.create_key("--reviewer", "kim")
    eventually(lambda: can_answer(changing, "kim"), "Kim can answer", 10)

    def is_told() -> bool:
        changing.client().request_approval("trader", "For Kim as well", {"amount": "1"})
        with contextlib.suppress(AssertionError):
            return bool(changing.smtp.wait_for(is_for_kim, timeout=3))
        return False

    # Each service reads the file by itself.
    eventually(is_told, "Kim is told", 10)


def is_for_kim(mail: ReceivedMail) -> bool:
    return "For Kim as well" in mail.subject and "kim@example.com" in mail.recipients


def test_a_broken_file_changes_nothing_and_is_shown_until_it_is_mended(changing: Stack) -> None:
    path = file_of(changing, "reviewers")
    path.write_text(with_reviewers("kim", "lou").replace("id: lou", "idd: lou"))
    eventually(lambda: refused_files(changing) == {"reviewers"}, "it is shown as refused", 10)
    log = changing.running.output
    assert re.search(r"gateway.*refused.*file=reviewers.*reviewers\.\d\.idd \(line \d+\)", log)
    assert can_answer(changing, "alex")

    path.write_text(with_reviewers("kim", "lou"))
    changing.reviewer_keys["lou"] = changing.create_key("--reviewer", "lou")
    eventually(lambda: can_answer(changing, "lou"), "Lou can answer", 10)
    assert refused_files(changing) == set()


def test_who_is_no_reviewer_any_more_cannot_answer(changing: Stack) -> None:
    path = file_of(changing, "reviewers")
    path.write_text(with_reviewers("max"))
    changing.reviewer_keys["max"] = changing.create_key("--reviewer", "max")
    eventually(lambda: can_answer(changing, "max"), "Max can answer", 10)
    path.write_text(with_reviewers())
    eventually(lambda: not can_answer(changing, "max"), "Max cannot answer", 10)


def test_policies_that_ask_nobody_change_nothing(changing: Stack) -> None:
    path = file_of(changing, "policies")
    good = path.read_text()
    bad = yaml.safe_load(good)
    bad["approvals"]["default"]["groups"] = ["ghosts"]
    path.write_text(yaml.safe_dump(bad))
    both = {"policies and reviewers"}
    eventually(lambda: refused_files(changing) == both, "they are shown as refused", 10)
    assert can_answer(changing, "alex")
    path.write_text(good)
    eventually(lambda: refused_files(changing) == set(), "they are mended", 10)


def test_the_evaluator_judges_by_the_new_policies(changing: Stack) -> None:
    agent = changing.client()
    path = file_of(changing, "policies")
    policies = yaml.safe_load(path.read_text())

    def verdict() -> str:
        action = agent.submit("trader", "transaction", {"amount": "2500.00"})
        with changing.http() as http:
            found: dict[str, Any] = {}

            def is_judged() -> bool:
                found.update(http.get(f"/actions/{action.id}").json())
                return found["verdict"] is not None

            eventually(is_judged, "it is judged", 10)
        return str(found["verdict"])

    assert verdict() == "require_approval"
    limits = policies["safeguards"]["finance"]["config"]["transaction_limits"]
    limits["*"] = "5000.00"
    path.write_text(yaml.safe_dump(policies))
    eventually(lambda: verdict() == "allow", "2500.00 is not too much", 10)


def test_a_link_ends_with_the_right_to_answer(changing: Stack) -> None:
    """Whoever leaves the groups sees no more of the request by the mail that they once got."""
    file_of(changing, "reviewers").write_text(with_reviewers())
    changing.client().request_approval("trader", "Before Alex left", {"amount": "2500.00"})
    mail = changing.smtp.wait_for(
        lambda mail: "Before Alex left" in mail.subject and "alex@example.com" in mail.recipients
    )
    found = re.search(r"http://\S+/review/\S+", mail.text)
    assert found
    assert "Before Alex left" in httpx2.get(found[0]).text
    moved = yaml.safe_load(with_reviewers())
    moved["reviewers"][0]["groups"] = ["others"]
    file_of(changing, "reviewers").write_text(yaml.safe_dump(moved))
    eventually(lambda: httpx2.get(found[0]).status_code == 404, "the link has ended", 10)
    assert "2500.00" not in httpx2.get(found[0]).text
