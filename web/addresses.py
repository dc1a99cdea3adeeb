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
        self._known = lru_cache(REMEMBERED)(self._find)

    def of(self, peer: str, forwarded: str) -> tuple[str, bool]:
        """The address to write down, "" where there is none, and whether the peer is a proxy that is believed.

        `peer` is "" for a unix socket. `forwarded` is X-Forwarded-For; of a proxy its last address that is none counts.
        """
        return self._known(peer, forwarded[-LONGEST:])

    def _find(self, peer: str, forwarded: str) -> tuple[str, bool]:
        address = _read(peer)
        believed = address is not None and self._is_proxy(address)
        for entry in reversed(forwarded.split(",") if believed and forwarded else []):
            address = _read(entry)
            if address is None or not self._is_proxy(address):
                break  # what stands before it was written by somebody we have no reason to believe
        if address is None:
            return "", believed
        return _shortened(address) if self._shorten else str(address), believed

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


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
