"""Address rules: which addresses a host that a stranger names may have.

Whoever registers a push subscription chooses the host we connect to. Without these rules that host could be a machine
beside us, the router, or a cloud's metadata service (server-side request forgery, CWE-918).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

# IANA IPv4 Special-Purpose Address Registry (RFC 6890), and multicast. Written out, because the answers of Python's
# own `is_global` change from release to release. Its globally reachable entries (AS112, AMT) serve no push either, but
# they are nobody's inner network.
_IPV4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "an unspecified"),  # RFC 791 §3.2
        ("10.0.0.0/8", "a private"),  # RFC 1918
        ("100.64.0.0/10", "a carrier's inner"),  # CGNAT, RFC 6598
        ("127.0.0.0/8", "a loopback"),  # RFC 1122 §3.2.1.3
        ("169.254.0.0/16", "a link-local"),  # RFC 3927; clouds' metadata services
        ("172.16.0.0/12", "a private"),  # RFC 1918
        ("192.0.0.0/24", "a reserved"),  # IETF protocol assignments, RFC 6890 §2.1
        ("192.0.2.0/24", "a documentation"),  # RFC 5737
        ("192.88.99.0/24", "a relay's"),  # 6to4 relay anycast, RFC 7526
        ("192.168.0.0/16", "a private"),  # RFC 1918
        ("198.18.0.0/15", "a benchmark"),  # RFC 2544
        ("198.51.100.0/24", "a documentation"),  # RFC 5737
        ("203.0.113.0/24", "a documentation"),  # RFC 5737
        ("224.0.0.0/4", "a multicast"),  # RFC 5771
        ("240.0.0.0/4", "a reserved"),  # RFC 1112 §4; broadcast, RFC 8190
    )
)

# IANA IPv6 Special-Purpose Address Registry. Only 2000::/3 is given out for global unicast (RFC 4291 §2.4), so all
# outside it is refused by that alone: loopback, IPv4-mapped, unique local, link-local, multicast and what is to come.
_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
_IPV6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("2001::/23", "a reserved"),  # IETF protocol assignments with Teredo and ORCHID, RFC 2928, RFC 4380, RFC 7343
        ("2001:db8::/32", "a documentation"),  # RFC 3849
        ("2002::/16", "a tunnelled IPv4"),  # 6to4, RFC 3056
        ("3fff::/20", "a documentation"),  # RFC 9637
    )
)
_IPV6_OUTSIDE: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::1/128", "a loopback"),  # RFC 4291 §2.5.3
        ("::ffff:0:0/96", "a mapped IPv4"),  # RFC 4291 §2.5.5.2
        ("fc00::/7", "a private"),  # RFC 4193
        ("fe80::/10", "a link-local"),  # RFC 4291 §2.5.6
        ("ff00::/8", "a multicast"),  # RFC 4291 §2.7
        ("::/0", "a reserved"),
    )
)

# Where only IPv6 is, DNS64 makes such an address for every host that has IPv4 only: it is as public as the IPv4 address
# in its last four bytes (RFC 6052 §2.1, §3.1). The local-use prefix of RFC 8215 is none of these.
_NAT64: Final = IPv6Network("64:ff9b::/96")


def refusal(addresses: Iterable[str]) -> str:
    """Why a host with these addresses may not be dialled, for a person; empty when it may.

    One address that is not public is enough: which of them is dialled first is not ours to say. The address itself is
    not told, because the words may travel to whoever named the host.
    """
    for address in addresses:
        if kind := _not_public(address):
            return f"the host has {kind} address, and only public ones are allowed here"
    return ""


def _not_public(address: str) -> str:
    try:
        return _ipv6(IPv6Address(address)) if ":" in address else _ipv4(IPv4Address(address))
    except AddressValueError:
        return "an unreadable"


def _ipv4(address: IPv4Address) -> str:
    return next((kind for network, kind in _IPV4 if address in network), "")


def _ipv6(address: IPv6Address) -> str:
    if address in _NAT64:
        return _ipv4(IPv4Address(int(address) & 0xFFFFFFFF))
    kinds = _IPV6 if address in _IPV6_GLOBAL else _IPV6_OUTSIDE
    return next((kind for network, kind in kinds if address in network), "")
