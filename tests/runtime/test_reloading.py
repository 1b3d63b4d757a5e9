"""Files that are read again when they change: what is wrong never comes into force."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from safeguards.errors import ConfigurationError
from safeguards_runtime.reloading import Combined, Reloaded, watched
from tests.deploy.running import eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "words.txt"
    made.write_text("first")
    return made


def words(path: Path) -> str:
    """Read a file of words; one with `wrong` in it is no good."""
    text = path.read_text()
    if "wrong" in text:
        raise ConfigurationError(f"{path}: is wrong")
    return text


def refused(name: str) -> float | None:
    """Return what the metric says of a file."""
    return REGISTRY.get_sample_value("safeguards_configuration_error", {"file": name})


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


@pytest.mark.parametrize("change", [in_place, by_rename])
def test_a_change_is_taken_within_a_second(path: Path, change: Callable[[Path, str], None]) -> None:
    reloaded = Reloaded(path, words, name="words")
    assert reloaded.current == "first"
    change(path, "the second")
    assert reloaded.current == "first"
    with capture_logs() as logs:
        reloaded.look()
        assert reloaded.current == "the second"
    assert [(line["event"], line["file"]) for line in logs] == [
        ("a new version is in force", "words")
    ]


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    """So Kubernetes replaces the files of a ConfigMap: by one link to their folder."""
    for folder, text in [("monday", "first"), ("friday", "other")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.txt").write_text(text)
    os.utime(tmp_path / "friday" / "words.txt", (0, 0))
    os.utime(tmp_path / "monday" / "words.txt", (0, 0))
    (tmp_path / "data").symlink_to("monday")
    (tmp_path / "words.txt").symlink_to("data/words.txt")
    reloaded = Reloaded(tmp_path / "words.txt", words, name="words")
    assert reloaded.current == "first"
    (tmp_path / "data.new").symlink_to("friday")
    (tmp_path / "data.new").rename(tmp_path / "data")
    reloaded.look()
    assert reloaded.current == "other"


def test_what_has_not_changed_is_not_read_again(path: Path) -> None:
    reads: list[Path] = []

    def load(path: Path) -> str:
        reads.append(path)
        return words(path)

    reloaded = Reloaded(path, load, name="words")
    for _ in range(5):
        reloaded.look()
        assert reloaded.current == "first"
    assert len(reads) == 1


def test_a_mistake_changes_nothing_and_is_said_once(path: Path) -> None:
    reloaded = Reloaded(path, words, name="mistaken")
    assert reloaded.error is None
    assert refused("mistaken") == 0
    path.write_text("something wrong")
    with capture_logs() as logs:
        for _ in range(3):
            reloaded.look()
            assert reloaded.current == "first"
    assert [(line["log_level"], line["reason"]) for line in logs] == [
        ("error", f"{path}: is wrong")
    ]
    assert reloaded.error == f"{path}: is wrong"
    assert refused("mistaken") == 1
    path.write_text("right")
    reloaded.look()
    assert reloaded.current == "right"
    assert (reloaded.error, refused("mistaken")) == (None, 0)


def test_a_mistake_that_is_taken_back_is_none(path: Path) -> None:
    reloaded = Reloaded(path, words, name="words")
    path.write_text("something wrong")
    reloaded.look()
    assert reloaded.current == "first"
    path.write_text("first")
    reloaded.look()
    assert reloaded.current == "first"
    assert reloaded.error is None


def test_whatever_reading_it_raises_the_old_one_stays(path: Path) -> None:
    def load(path: Path) -> int:
        return len(words(path)) // (len(words(path)) - len("seven.."))

    reloaded = Reloaded(path, load, name="words")
    before = reloaded.current
    path.write_text("seven..")
    reloaded.look()
    assert reloaded.current == before
    assert "division" in str(reloaded.error)


@pytest.mark.parametrize("text", ["wrong", None])
def test_the_first_version_must_be_good(path: Path, text: str | None) -> None:
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises((ConfigurationError, FileNotFoundError)):
        Reloaded(path, words, name="words")


def test_a_file_that_is_gone_for_a_moment_is_no_error(path: Path) -> None:
    reloaded = Reloaded(path, words, name="words")
    aside = path.rename(path.with_suffix(".aside"))
    with capture_logs() as logs:
        reloaded.look()
        assert reloaded.current == "first"
        assert reloaded.error is None
        aside.rename(path)
        reloaded.look()
        assert reloaded.current == "first"
    assert reloaded.error is None
    assert not [line for line in logs if line["log_level"] == "error"]


def test_a_file_that_stays_away_is_said_once_and_taken_when_it_is_back(path: Path) -> None:
    reloaded = Reloaded(path, words, name="words")
    path.unlink()
    with capture_logs() as logs:
        for _ in range(5):
            reloaded.look()
            assert reloaded.current == "first"
    assert [line["log_level"] for line in logs] == ["error"]
    assert "gone" in str(reloaded.error)
    path.write_text("back")
    reloaded.look()
    assert reloaded.current == "back"
    assert reloaded.error is None


def test_nobody_waits_for_a_file_that_takes_long_to_read(path: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def load(path: Path) -> str:
        if begun.is_set():
            assert may_end.wait(60)
        begun.set()
        return words(path)

    reloaded = Reloaded(path, load, name="words")
    path.write_text("the second")
    with ThreadPoolExecutor() as threads:
        looking = threads.submit(reloaded.look)
        assert reloaded.current == "first"
        may_end.set()
        looking.result(60)
    assert reloaded.current == "the second"


def test_a_change_is_in_force_though_nobody_asks(path: Path) -> None:
    """Whoever asks next gets it; and a mistake shows before anybody asks."""
    reloaded = watched(Reloaded(path, words, name="watched"))
    path.write_text("something wrong")
    eventually(lambda: refused("watched") == 1, "the mistake is said")
    path.write_text("right")
    eventually(lambda: refused("watched") == 0, "it is taken")
    assert reloaded.current == "right"


def test_what_nobody_has_any_more_is_not_watched(path: Path) -> None:
    reloaded = watched(Reloaded(path, words, name="given up"))
    [thread] = [one for one in threading.enumerate() if one.name == "watch-given up"]
    del reloaded
    eventually(lambda: not thread.is_alive(), "the thread ends")


def test_a_plugin_that_ends_the_program_ends_nothing(path: Path) -> None:
    def load(path: Path) -> str:
        if "exit" in path.read_text():
            raise SystemExit(3)
        return words(path)

    reloaded = Reloaded(path, load, name="words")
    path.write_text("exit")
    reloaded.look()
    assert (reloaded.current, reloaded.error) == ("first", "3")


# --- two files that must fit each other ---------------------------------------------------------


def pair(texts: tuple[str, str]) -> str:
    """Two texts fit if they begin alike."""
    if texts[0][0] != texts[1][0]:
        raise ConfigurationError(f"{texts[0]} does not fit {texts[1]}")
    return " ".join(texts)


@pytest.mark.parametrize("first_to_change", [0, 1])
def test_two_files_change_together_in_either_order(tmp_path: Path, first_to_change: int) -> None:
    paths = (tmp_path / "left", tmp_path / "right")
    for path in paths:
        path.write_text(f"a {path.name}")
    left, right = (Reloaded(path, words, name=path.name) for path in paths)
    combined = Combined(left, right, lambda a, b: pair((a, b)), name="both")
    assert combined.current == "a left a right"
    earlier, later = paths[first_to_change], paths[1 - first_to_change]

    earlier.write_text(f"b new {earlier.name}")
    left.look()
    right.look()
    assert combined.current == "a left a right"
    assert "does not fit" in str(combined.error)
    assert refused("both") == 1

    later.write_text(f"b new {later.name}")
    left.look()
    right.look()
    assert combined.current == "b new left b new right"
    assert (combined.error, refused("both")) == (None, 0)


def test_a_mistake_in_one_file_does_not_hold_up_the_other(tmp_path: Path) -> None:
    paths = (tmp_path / "left", tmp_path / "right")
    for path in paths:
        path.write_text(f"a {path.name}")
    left, right = (Reloaded(path, words, name=path.name) for path in paths)
    combined = Combined(left, right, lambda a, b: pair((a, b)), name="both")
    paths[0].write_text("wrong")
    paths[1].write_text("a better right")
    left.look()
    right.look()
    assert combined.current == "a left a better right"
    assert combined.error == f"{paths[0]}: is wrong"


def test_files_that_never_fitted_are_refused_at_once(tmp_path: Path) -> None:
    paths = (tmp_path / "left", tmp_path / "right")
    for path in paths:
        path.write_text(path.name)
    left, right = (Reloaded(path, words, name=path.name) for path in paths)
    with pytest.raises(ConfigurationError, match="does not fit"):
        Combined(left, right, lambda a, b: pair((a, b)), name="both")
