"""Passwords: hashed by Argon2id (RFC 9106), verified as slowly for nobody as for somebody."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2
"""How many are hashed at a time in one process: each takes 64 MiB and a core for a while."""


class Verified(NamedTuple):
    """What came of a password.

    Attributes:
        fits: whether it is the one.
        better_hash: the same password with today's parameters, where those of its hash are old.
    """

    fits: bool
    better_hash: str | None = None


def normalized(password: str) -> str:
    """Return a password as it is hashed, the same from every keyboard (NIST SP 800-63B-4, 3.1.1.2).

    What is no text, as a terminal may hand over, becomes `?`.
    """
    text = password.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFKC", text)


class Passwords:
    """Hashes and verifies passwords, off the event loop and few at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turn = asyncio.Semaphore(AT_ONCE)
        # Of what no text is in UTF-8, so that no password fits it.
        self._nobodys = self._hasher.hash(b"\xff")

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with the salt and the parameters in it."""
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, normalized(password).encode())

    async def verify(self, password_hash: str | None, password: str) -> Verified:
        """Tell whether a password fits. Without a hash it takes the same time, and never does."""
        given = normalized(password).encode()
        async with self._turn:
            return await asyncio.to_thread(self._verify, password_hash, given)

    def _verify(self, password_hash: str | None, given: bytes) -> Verified:
        try:
            self._hasher.verify(password_hash or self._nobodys, given)
        except (VerificationError, InvalidHashError):
            return Verified(False)
        if password_hash is None:
            return Verified(False)
        if self._hasher.check_needs_rehash(password_hash):
            return Verified(True, self._hasher.hash(given))
        return Verified(True)
