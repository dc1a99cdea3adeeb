"""The network of the machines: a bridge in a namespace of its own, routed and masqueraded to the outside.

    host 10.214.N.1 ──veth── 10.214.N.2 router 10.213.N.1 ──bridge──┬── machine 10.213.N.11
                                                                    └── machine 10.213.N.12

All of it lives in the router's namespace or belongs to a process, so it is gone when that process ends: the kernel takes a
veth away with its namespace, and a table of nftables with the flag `owner` with the connection that made it.

Where this host may not make interfaces (itself a container without CAP_NET_ADMIN), `shared` is true: machines then use the
host's own network and the ports on it. One machine can be tested so, several cannot.
"""

import json
import subprocess
from itertools import count
from pathlib import Path

from .process import MachineError, leashed, sh, wait_until

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


class Network:
    """A network for the machines of one run. `close` when done."""

    def __init__(self) -> None:
        self._numbers = count(11)
        self._router: subprocess.Popen[bytes] | None = None
        self._nft: subprocess.Popen[bytes] | None = None
        self._forwarding = False
        self._number = -1
        self.shared = not _may_make_interfaces()
        self.host = "127.0.0.1"  # where machines reach what the tests themselves serve
        if not self.shared:
            try:
                self._connect()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Takes the network down. Machines are to be gone before."""
        if self._nft is not None and self._nft.stdin is not None:
            self._nft.stdin.close()
        for process in (self._nft, self._router):
            if process is not None:
                process.kill()
                process.wait(30)
        self._nft = self._router = None
        if not self.shared:
            gone = f"smtpeter{self._number}"  # the kernel takes it away in its own time
            wait_until(lambda: gone not in _virtual_links(), f"{gone} is gone", 10)
        if self._forwarding:
            if not _virtual_links():  # somebody else's network may count on it by now
                _FORWARD.write_text("0")
            self._forwarding = False

    def address(self) -> str:
        """An address for one more machine."""
        return "127.0.0.1" if self.shared else f"10.213.{self._number}.{next(self._numbers)}"

    def plug(self, pid: int, address: str) -> None:
        """Gives the network namespace of a process an interface eth0 with the address."""
        if self.shared:
            return
        link = f"m{address.rpartition('.')[2]}"
        # A machine keeps its card: with a new one, the others would go on sending to the old one for up to a minute.
        card = "02:00:" + ":".join(f"{int(number):02x}" for number in address.split("."))
        pair = ("type", "veth", "peer", "name", "eth0", "address", card, "netns", str(pid))
        self._inside("ip", "link", "del", link, check=False)  # that of the boot before, which goes in its own time
        self._inside("ip", "link", "add", link, *pair)
        self._inside("ip", "link", "set", link, "master", "bridge", "up")
        within = ("nsenter", "-t", str(pid), "-n", "ip")
        sh(*within, "link", "set", "lo", "up")
        sh(*within, "addr", "add", f"{address}/24", "dev", "eth0")
        sh(*within, "link", "set", "eth0", "up")
        sh(*within, "route", "add", "default", "via", f"10.213.{self._number}.1")

    def unplug(self, address: str) -> None:
        """Pulls the cable of a machine: nothing comes from it any more, not even the end of a connection."""
        self._cable(address, "down")

    def replug(self, address: str) -> None:
        """Puts the cable back."""
        self._cable(address, "up")

    def _cable(self, address: str, state: str) -> None:
        if not self.shared:
            self._inside("ip", "link", "set", f"m{address.rpartition('.')[2]}", state)

    def _inside(self, *argv: str, check: bool = True) -> None:
        assert self._router is not None
        sh("nsenter", "-t", str(self._router.pid), "-n", *argv, check=check)

    def _connect(self) -> None:
        self._router = leashed("/usr/bin/unshare", "--net", "/bin/sleep", "infinity")
        own = Path("/proc/self/ns/net").readlink()
        wait_until(lambda: Path(f"/proc/{self._router.pid}/ns/net").readlink() != own, "a network namespace")
        self._number = self._uplink(self._router.pid)
        self.host = f"10.214.{self._number}.1"
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "addr", "add", f"10.214.{self._number}.2/30", "dev", "uplink")
        self._inside("ip", "link", "set", "uplink", "up")
        self._inside("ip", "route", "add", "default", "via", self.host)
        self._inside("ip", "link", "add", "bridge", "type", "bridge")
        self._inside("ip", "addr", "add", f"10.213.{self._number}.1/24", "dev", "bridge")
        self._inside("ip", "link", "set", "bridge", "up")
        self._inside("sh", "-c", f"echo 1 >{_FORWARD}")
        sh("ip", "route", "add", f"10.213.{self._number}.0/24", "via", f"10.214.{self._number}.2")
        if _FORWARD.read_text().strip() == "0":
            _FORWARD.write_text("1")
            self._forwarding = True
        self._masquerade()

    def _uplink(self, router: int) -> int:
        """Makes the way from the host to the router, with a number that is free; the number."""
        for number in range(255):
            name = f"smtpeter{number}"
            pair = ("link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", str(router))
            if sh("ip", "route", "show", "root", f"10.213.{number}.0/24").stdout or sh("ip", *pair, check=False).returncode != 0:
                continue  # somebody else's: the name of an interface is given once
            sh("ip", "addr", "add", f"10.214.{number}.1/30", "dev", name)
            sh("ip", "link", "set", name, "up")
            return number
        raise MachineError("no range of addresses is free for the machines")

    def _masquerade(self) -> None:
        """Lets the machines out as this host."""
        table = f"ip smtpeter{self._number}"
        self._nft = leashed("/usr/sbin/nft", "-i", stdin=subprocess.PIPE)
        assert self._nft.stdin is not None
        lines = (
            f"add table {table} {{ flags owner; }}",
            f"add chain {table} out {{ type nat hook postrouting priority 100; }}",
            f"add rule {table} out ip saddr 10.213.{self._number}.0/24 ip daddr != 10.214.{self._number}.0/30 masquerade",
        )
        for line in lines:
            self._nft.stdin.write(f"{line}\n".encode())
        self._nft.stdin.flush()
        listing = ("nft", "list", "table", *table.split())
        wait_until(lambda: "masquerade" in sh(*listing, check=False).stdout, "nftables lets the machines out", 10)


def _virtual_links() -> list[str]:
    links = [json.loads(sh("ip", "-j", "link", "show", "type", kind).stdout or "[]") for kind in ("veth", "bridge")]
    return [link["ifname"] for found in links for link in found if link]


def _may_make_interfaces() -> bool:
    done = sh("ip", "link", "add", "smtpeter-try", "type", "veth", "peer", "name", "smtpeter-yrt", check=False)
    if done.returncode == 0:
        sh("ip", "link", "del", "smtpeter-try", check=False)
    return done.returncode == 0 or "exists" in done.stderr
