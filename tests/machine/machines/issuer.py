"""A machine that is the Internet of another one: its name server, and an authority that issues certificates by ACME."""

from pathlib import Path

from .ground import Ground
from .machine import Machine
from .process import wait_until

NAME = "acme.example"
_ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
_CADDYFILE = f"""\
{{
	skip_install_trust
}}
https://{NAME} {{
	tls internal
	acme_server
}}
"""


class Issuer:
    """Knows `names`, which lead to `address`, and asks there whether who wants a certificate has them (RFC 8555 section 8)."""

    directory = f"https://{NAME}/acme/local/directory"

    def __init__(self, ground: Ground, names: tuple[str, ...], address: str) -> None:
        self.machine = ground.machine("issuer")
        install = "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install"
        self.machine.run(f"apt-get -q update && {install} caddy dnsmasq-base", timeout=300)
        words = [f"--address=/{name}/{address}" for name in names] + [f"--address=/{NAME}/{self.machine.address}"]
        self.machine.run("cp /etc/resolv.conf /etc/resolv.conf.outside")
        self.machine.run(
            "systemd-run --quiet --unit=names dnsmasq --keep-in-foreground --no-hosts --user=root --bind-interfaces"
            f" --listen-address=127.0.0.1,{self.machine.address} --resolv-file=/etc/resolv.conf.outside {' '.join(words)}"
        )
        self.answers_for(self.machine)
        self.machine.write("/etc/caddy/Caddyfile", _CADDYFILE)
        self.machine.run("systemctl restart caddy")
        wait_until(
            lambda: self.machine.run(f"test -s {_ROOT}", check=False).returncode == 0, "the authority has a certificate", 30
        )

    def answers_for(self, machine: Machine) -> None:
        """Has a machine ask this name server."""
        machine.write("/etc/resolv.conf", f"nameserver {self.machine.address}\n")

    def save_root(self, file: Path) -> Path:
        """Writes the authority's own certificate to a file here."""
        file.write_bytes(self.machine.read(_ROOT))
        return file
