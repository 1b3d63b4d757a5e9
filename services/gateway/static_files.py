"""The style sheets, scripts and pictures of the pages."""

from __future__ import annotations

from os import PathLike, stat_result
from pathlib import Path

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Scope

HEADERS = {
    # Asked again for each page, and mostly answered with 304: a page never meets the style sheet
    # of another release, and no file needs a version in its name.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


class _Files(StaticFiles):
    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def static_files(folder: Path) -> ASGIApp:
    """Return what serves a folder, compressed.

    Only these files are: they are the same for everybody. Pages are not, since they hold the token
    of a session beside what was typed into the address, and the length of both compressed together
    would tell the one to whoever can try the other (BREACH). Nor is the stream of events, which
    must not wait for a block to fill.
    """
    return GZipMiddleware(_Files(directory=folder), minimum_size=500)
