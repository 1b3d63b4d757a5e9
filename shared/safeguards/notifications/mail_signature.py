"""The key with which mails are signed (DKIM, RFC 6376), as the `emails` package takes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safeguards.errors import ConfigurationError

_MIN_BITS = 1024
"""RFC 8301 section 3.2; 2048 is what it recommends."""

# Signed where they are there. From and Subject once more than they are there, so that a second one
# cannot be added (RFC 6376 section 8.15); the List- headers, as RFC 8058 section 4 demands.
_SIGNED_HEADERS = (
    *("From", "From", "Subject", "Subject", "To", "Date", "Message-ID", "In-Reply-To"),
    *("References", "MIME-Version", "Content-Type", "Auto-Submitted", "List-Id"),
    *("List-Unsubscribe", "List-Unsubscribe-Post"),
)


@dataclass(frozen=True)
class DkimKey:
    """An RSA key, with the name under which the DNS has its public half.

    Attributes:
        pem: the private key.
        selector: the first part of `selector._domainkey.domain`.
        domain: the last.
    """

    pem: bytes = field(repr=False)
    selector: str
    domain: str

    @classmethod
    def read(cls, path: Path, selector: str, domain: str) -> DkimKey:
        """Return the key in the file `path`.

        Raises:
            ConfigurationError: if it cannot be read, is no unencrypted RSA key in PEM, or one of
                less than 1024 bits.
        """
        import dkim.crypto

        try:
            # The package finds no key in a file whose lines end as Windows ends them.
            pem = b"\n".join(path.read_bytes().splitlines()) + b"\n"
        except OSError as error:
            raise _wrong(f"{path} cannot be read: {error.strerror}") from None
        try:
            bits = dkim.crypto.parse_pem_private_key(pem)["modulus"].bit_length()
        except Exception:  # it raises whatever comes up in parsing
            bits = 0
        if not bits:
            raise _wrong(
                f"{path} holds no RSA private key in PEM: make one by "
                "'openssl genrsa -out dkim.pem 2048', without a password (Ed25519 is not supported)"
            )
        if bits < _MIN_BITS:
            raise _wrong(f"the key in {path} has {bits} bits: give one of 2048")
        return cls(pem, selector, domain)

    def arguments(self) -> dict[str, Any]:
        """Return what `emails.Message.sign` takes."""
        return {
            "key": self.pem,
            "selector": self.selector,
            "domain": self.domain,
            "include_headers": list(_SIGNED_HEADERS),
        }


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(f"EmailChannel: the key 'dkim_key_file' is wrong: {problem}")
