"""Where a visitor comes from: the peer, or who a proxy of ours says it speaks for; shortened where that is wished."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REMEMBERED = 4096
LONGEST = 400  # characters of X-Forwarded-For that are looked at, from its end: the part that our proxies wrote
KEPT_BITS = {4: 24, 6: 48}


class Addresses:
    """Finds the address of a visitor. `proxies` are believed, `shorten` keeps 24 bits of IPv4 and 48 of IPv6."""

    def __init__(self, proxies: Iterable[Network], *, shorten: bool) -> None:
        self._proxies = tuple(proxies)
        self._shorten = shorten
        # Each visitor comes several times, and reading an address takes longer than answering.
        self.trusts = lru_cache(REMEMBERED)(self._trusts)
        self._found = lru_cache(REMEMBERED)(self._find)

    def of(self, peer: str, forwarded: str) -> str:
        """The address to write down, or "" where there is none: `peer` is "" for a unix socket.

        `forwarded` is X-Forwarded-For; it counts only where the peer is a proxy, and then its last address that is none.
        """
        return self._found(peer, forwarded[-LONGEST:] if forwarded and self.trusts(peer) else "")

    def _trusts(self, peer: str) -> bool:
        address = _read(peer)
        return address is not None and self._is_proxy(address)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)

    def _find(self, peer: str, forwarded: str) -> str:
        address = _read(peer)
        for entry in reversed(forwarded.split(",") if forwarded else []):
            address = _read(entry)
            if address is None or not self._is_proxy(address):
                break  # what stands before it was written by somebody we have no reason to believe
        if address is None:
            return ""
        return _shortened(address) if self._shorten else str(address)


def _read(text: str) -> Address | None:
    """An address, perhaps with a port, as proxies write it; an IPv4 address in IPv6 form is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _shortened(address: Address) -> str:
    return str(ip_network((address, KEPT_BITS[address.version]), strict=False).network_address)
