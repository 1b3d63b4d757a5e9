"""Calls of our own functions from conditions.

cel-expr-python 0.1.3 releases neither the arguments that it passes to a function nor what that
returns: with each call a text of an agent's would stay for ever. It copies both, so they can be
released once the call is over: a ctypes function is given the very tuple of the arguments
(`errcheck`). References are counted first: what the library has released is not released again.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

_give_up = ctypes.pythonapi.Py_DecRef
_give_up.argtypes = [ctypes.py_object]
_give_up.restype = None


class _Last(threading.local):
    """What the last call of this thread was given, and what it returned."""

    arguments: tuple[Any, ...] | None = None
    result: Any = None


_last = _Last()


def callable_by_cel(code: Callable[..., Any], parameters: int) -> Callable[..., Any]:
    """Return what the library may call for a function of `parameters` parameters.

    Whoever evaluates a condition calls `release` afterwards.
    """
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.py_object] * parameters)
    # A C function has to be called before `errcheck` is; this one does nothing.
    call = prototype(("Py_IsInitialized", ctypes.pythonapi))

    def called(status: int, function: object, arguments: tuple[Any, ...]) -> Any:
        release()
        _last.arguments = arguments
        result = code(*arguments)
        # What others hold as well is theirs to keep.
        _last.result = result if sys.getrefcount(result) == _OWN_REFERENCES else None
        return result

    call.errcheck = called  # type: ignore[assignment]  # it gives any object back, not only C's
    return call


def release() -> None:
    """Release what the last call of this thread was given and returned, if the library has not."""
    arguments, _last.arguments = _last.arguments, None
    result, _last.result = _last.result, None
    if arguments is not None and sys.getrefcount(arguments) > _OWN_REFERENCES:
        _give_up(arguments)
    if result is not None and sys.getrefcount(result) > _OWN_REFERENCES:
        _give_up(result)


def _own_references() -> int:
    """Return how many references to an object are counted that one variable holds."""
    alone = object()
    return sys.getrefcount(alone)


_OWN_REFERENCES = _own_references()
