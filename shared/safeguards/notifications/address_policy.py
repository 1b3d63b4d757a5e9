"""Which addresses outgoing HTTP may go to: one table, of which the most specific entry decides.

It is ssrfguard's, made from the special-purpose registries of IANA, with the stricter entries
below. Addresses of IPv4 inside of IPv6 are refused whatever they carry: no receiver needs them,
and they are a second way to write an address that is checked.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssrfguard

_PRIVATE = frozenset(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    )
)

_REFUSED = {
    "168.63.129.16/32": "Cloud metadata (Azure)",
    "fd00:ec2::/32": "Cloud metadata (Amazon)",
    "fd20:ce::254/128": "Cloud metadata (Google)",
    "fd00:c1::a9fe:a9fe/128": "Cloud metadata (Oracle)",
    "fd00:42::42/128": "Cloud metadata (Scaleway)",
    "::ffff:0:0:0/96": "IPv4-translated Address (RFC 2765)",
}

_NAT64 = ip_network("64:ff9b::/96")
"""The one prefix of IPv4 inside of IPv6 that is needed: networks without IPv4 reach public
receivers through it (RFC 6052). It is the address inside that is checked."""


@lru_cache(maxsize=2)
def address_policy(allow_private: bool) -> ssrfguard.Policy:
    """Return what decides about URLs and addresses.

    Args:
        allow_private: also loopback and private networks (RFC 1918, RFC 4193); link-local
            addresses and the metadata services of clouds stay refused.
    """
    import ssrfguard

    def judged(block: ssrfguard.Block) -> ssrfguard.Block:
        if block.network in _PRIVATE and allow_private:
            return replace(block, reach=ssrfguard.Reach.PERMITTED)
        if block.reach is ssrfguard.Reach.TRANSLATED and block.network != _NAT64:
            return replace(block, reach=ssrfguard.Reach.DENIED)
        return block

    refused = [
        ssrfguard.Block(ip_network(text), name, "Safeguards", ssrfguard.Reach.DENIED)
        for text, name in _REFUSED.items()
    ]
    # What a newer version of the library brings itself is not named twice.
    added = {block.network for block in refused}
    known = [b for b in map(judged, ssrfguard.DEFAULT_DENIED.blocks) if b.network not in added]
    return ssrfguard.Policy(
        allowed_ports=frozenset(range(1, 65536)),
        denied_networks=ssrfguard.AddressTable((*known, *refused)),
    )
