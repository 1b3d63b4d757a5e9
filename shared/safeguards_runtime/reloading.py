"""Configuration files that are read again when they change, without a restart.

Nothing that is wrong ever comes into force: a file with a mistake in it is logged as an error and
shows in the metric `safeguards_configuration_error`, and what was in force before stays.
"""

from __future__ import annotations

import hashlib
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import structlog
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
"""How long a change may go unnoticed."""

ERROR = Gauge(
    "safeguards_configuration_error",
    "1 while a changed configuration file is refused and its last good version is in force",
    ["file"],
)

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
V = TypeVar("V", covariant=True)


@dataclass(frozen=True)
class Version:
    """Which version of a file is in force in this process."""

    name: str
    """Of the file, in the log and the metric."""

    path: Path
    sha256: str
    """Of the file's bytes, 64 hexadecimal digits; empty if they could not be read again."""

    loaded_at: datetime
    """By the clock of this process, UTC."""


class InForce(Protocol[V]):
    """Something that may be another from one moment to the next."""

    @property
    def current(self) -> V:
        """What is in force now."""
        ...

    @property
    def error(self) -> str | None:
        """Why something newer is not in force; None if nothing is wrong."""
        ...

    @property
    def versions(self) -> tuple[Version, ...]:
        """Which version of each file is in force."""
        ...


@dataclass(frozen=True)
class _State(Generic[T]):
    """What was good last, of which versions, and why what came after is not."""

    value: T
    versions: tuple[Version, ...]
    error: str | None


class _Guarded(ABC, Generic[T]):
    """What was good last, and why what came after is not.

    Attributes:
        name: of the file, in the log and the metric.
    """

    def __init__(self, name: str, first: Callable[[], T]) -> None:
        self.name = name
        self._state = _State(first(), self._found(), None)
        ERROR.labels(file=name).set(0)

    @property
    def current(self) -> T:
        """What is in force now. Never waits for a file to be read."""
        return self._state.value

    @property
    def error(self) -> str | None:
        """Why something newer is not in force; None if nothing is wrong."""
        return self._state.error

    @property
    def versions(self) -> tuple[Version, ...]:
        """Which version of each file is in force."""
        return self._state.versions

    @abstractmethod
    def _found(self) -> tuple[Version, ...]:
        """Return which versions have just been read."""

    def _take(self, make: Callable[[], T]) -> None:
        try:
            made = make()
        # Whatever a plugin or a parser raises: the version before goes on.
        except (Exception, SystemExit) as error:
            self._refuse(str(error) or type(error).__name__)
        else:
            self._state = _State(made, self._found(), None)
            ERROR.labels(file=self.name).set(0)
            log.info("a new version is in force", file=self.name)

    def _refuse(self, reason: str) -> None:
        self._state = replace(self._state, error=reason)
        ERROR.labels(file=self.name).set(1)
        log.error("refused: the version before stays in force", file=self.name, reason=reason)


class Reloaded(_Guarded[T]):
    """The content of a file, loaded at once and again whenever `look` sees that it has changed.

    A replacement by rename, in place, or by a link that points elsewhere (a Kubernetes ConfigMap)
    is noticed. A refused file is tried again when it changes again. A file that is missing may be
    back at the next look before it counts as an error.

    Args:
        path: of the file.
        load: reads and checks it; raises what it likes (`ConfigurationError`) if it is no good.
        name: of the file, in the log and the metric.

    Raises:
        ConfigurationError: from `load`, for the first version.
    """

    def __init__(self, path: Path, load: Callable[[Path], T], *, name: str) -> None:
        self._path = path
        self._load = load
        # Before it is read: what is written meanwhile shows as a change.
        self._seen = _signature(path)
        self._missing = False
        super().__init__(name, lambda: load(path))

    def look(self) -> None:
        """Read the file again if it has changed. One thread does; see `watched`."""
        found = _signature(self._path)
        if found is None:
            if self._missing and self._seen is not None:
                self._seen = None
                self._refuse(f"{self._path}: the file is gone")
            self._missing = True
            return
        self._missing = False
        if found != self._seen:
            self._seen = found
            self._take(lambda: self._load(self._path))

    def _found(self) -> tuple[Version, ...]:
        try:
            sha256 = hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            sha256 = ""
        return (Version(self.name, self._path, sha256, datetime.now(UTC)),)


def watched(reloaded: Reloaded[T]) -> Reloaded[T]:
    """Return the content of a file, at which a thread looks every second for as long as somebody
    has it. So a change is in force soon, used or not; and whoever uses it never waits, nor an event
    loop, however long it takes to read."""
    threading.Thread(
        target=_watch, args=(weakref.ref(reloaded),), name=f"watch-{reloaded.name}", daemon=True
    ).start()
    return reloaded


def _watch(watched: weakref.ref[Reloaded[T]]) -> None:
    while True:
        time.sleep(CHECK_SECONDS)
        reloaded = watched()
        if reloaded is None:
            return
        reloaded.look()
        del reloaded


class Combined(_Guarded[T], Generic[T, A, B]):
    """What two files say together: made again, when it is next used, if either has changed.

    Where what they now say does not fit together, what was made last stays in force, until a
    change of either makes them fit: of two files that must change together, the order is free.

    Args:
        first: the content of one.
        second: of the other.
        combine: makes what is in force of them; raises what it likes if they do not fit.
        name: of both, in the log and the metric.

    Raises:
        ConfigurationError: from `combine`, for the first versions.
    """

    def __init__(
        self,
        first: InForce[A],
        second: InForce[B],
        combine: Callable[[A, B], T],
        *,
        name: str,
    ) -> None:
        self._first = first
        self._second = second
        self._combine = combine
        self._lock = threading.Lock()
        self._tried = (first.current, second.current)
        super().__init__(name, lambda: combine(*self._tried))

    @property
    def current(self) -> T:
        """What is in force now. Never waits for another thread that makes it."""
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._state.value

    @property
    def error(self) -> str | None:
        """Why something newer is not in force, in either file or both together."""
        return self._first.error or self._second.error or self._state.error

    def _look(self) -> None:
        found = (self._first.current, self._second.current)
        if found[0] is not self._tried[0] or found[1] is not self._tried[1]:
            self._tried = found
            self._take(lambda: self._combine(*found))

    def _found(self) -> tuple[Version, ...]:
        return self._first.versions + self._second.versions


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes when the file at `path` does; None while there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
