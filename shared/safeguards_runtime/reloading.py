"""Configuration files that are read again when they change, without a restart.

Nothing that is wrong ever comes into force: a file with a mistake in it is logged as an error and
shows in the metric `safeguards_configuration_error`, and what was in force before stays.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import structlog
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0
"""How long a change may go unnoticed while the configuration is in use."""

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


class _Guarded(Generic[T]):
    """What was good last, why what came after is not, and one thread at a time that looks.

    Attributes:
        name: of the file, in the log and the metric.
    """

    def __init__(self, name: str, first: Callable[[], T]) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._error: str | None = None
        self._value = first()
        self._versions = self._found()
        ERROR.labels(file=name).set(0)

    @property
    def current(self) -> T:
        """What is in force now. Never waits for another thread that looks for changes."""
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    @property
    def error(self) -> str | None:
        """Why something newer is not in force; None if nothing is wrong."""
        return self._error

    @property
    def versions(self) -> tuple[Version, ...]:
        """Which version of each file is in force."""
        return self._versions

    def _look(self) -> None:
        """Take what is newer, if anything is."""
        raise NotImplementedError

    def _found(self) -> tuple[Version, ...]:
        """Return which versions have just been read."""
        raise NotImplementedError

    def _take(self, make: Callable[[], T]) -> None:
        try:
            self._value = make()
        # Whatever a plugin or a parser raises: the version before goes on.
        except Exception as error:
            self._refuse(str(error) or type(error).__name__)
        else:
            self._versions = self._found()
            self._accept()
            log.info("a new version is in force", file=self.name)

    def _refuse(self, reason: str) -> None:
        self._error = reason
        ERROR.labels(file=self.name).set(1)
        log.error("refused: the version before stays in force", file=self.name, reason=reason)

    def _accept(self) -> None:
        self._error = None
        ERROR.labels(file=self.name).set(0)


class Reloaded(_Guarded[T]):
    """The content of a file, loaded at once and again whenever the file has changed.

    A replacement by rename, in place, or by a link that points elsewhere (a Kubernetes ConfigMap)
    is noticed within a second of use. A refused file is tried again when it changes again. A file
    that is missing is given a second to come back before it counts as an error.

    Args:
        path: of the file.
        load: reads and checks it; raises what it likes (`ConfigurationError`) if it is no good.
        name: of the file, in the log and the metric.
        monotonic: the time in seconds.

    Raises:
        ConfigurationError: from `load`, for the first version.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], T],
        *,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._load = load
        self._monotonic = monotonic
        # Before it is read: what is written meanwhile shows as a change.
        self._seen = _signature(path)
        self._missing = False
        super().__init__(name, lambda: load(path))
        self._next_look = monotonic() + CHECK_SECONDS

    def _look(self) -> None:
        now = self._monotonic()
        if now < self._next_look:
            return
        self._next_look = now + CHECK_SECONDS
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


class Combined(_Guarded[T], Generic[T, A, B]):
    """What two files say together: made again when either has changed.

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
        self._tried = (first.current, second.current)
        super().__init__(name, lambda: combine(*self._tried))

    @property
    def error(self) -> str | None:
        """Why something newer is not in force, in either file or both together."""
        return self._first.error or self._second.error or self._error

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
