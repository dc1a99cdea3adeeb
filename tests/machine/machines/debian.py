"""A bare Debian 12, made once by debootstrap and shared by all machines as the lower layer of an overlay.

SMTPETER_RELEASE names another one of `RELEASES`.

It holds what an installation from Debian's own medium has with "standard system utilities" and "SSH server" chosen, as
far as a deployment can notice: systemd, dbus, python3, sshd, sudo and the tools of the network. Nothing of a mail server.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

from .kept import CACHE, locked
from .process import MachineError, sh

# Mirror, components, and the script of debootstrap where it does not know the release; "" is the host's own mirror.
RELEASES = {
    "bookworm": ("", "main", ""),
    "trixie": ("", "main", ""),
    "noble": ("http://archive.ubuntu.com/ubuntu", "main universe", "/usr/share/debootstrap/scripts/gutsy"),
}
RELEASE = os.environ.get("SMTPETER_RELEASE") or "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "udev", "kmod", "procps", "iproute2", "ca-certificates", "sudo"),
    *("python3", "openssh-server", "less"),
)
# How the host reaches mirrors and package indexes, where it was told in its environment.
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL")
_PIP_BUNDLE = Path("/etc/pip/authorities.pem")
_OWN_NAMES = ("127.", "::1", "ff0", "fe0", "#")  # in /etc/hosts; the others may be those of mirrors
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def bare() -> Path:
    """The folder of the bare system; made at the first call, in about a minute."""
    if RELEASE not in RELEASES:
        raise MachineError(f"SMTPETER_RELEASE cannot be {RELEASE}: it is one of {', '.join(RELEASES)}")
    mirror, components, script = RELEASES[RELEASE]
    stamp = hashlib.sha256(repr((RELEASE, PACKAGES)).encode()).hexdigest()[:12]
    folder = CACHE / f"{RELEASE}-{stamp}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "lock"):
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            words = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--components={','.join(components.split())}"]
            words += ["--no-check-gpg"] if mirror else []  # Debian has no keys of others
            words += [RELEASE, str(part), mirror or _mirror(), *([script] if script else [])]
            sh("debootstrap", *words, timeout=900)
            part.rename(folder)
    return folder


def give_host_words(root: Path) -> None:
    """Writes into the upper layer of a machine how this host resolves names and reaches mirrors: there is no other way out."""
    apt = root / "etc/apt"
    (apt / "sources.list.d").mkdir(parents=True)
    _write(apt / "sources.list", "# see sources.list.d")  # in place of what debootstrap wrote
    mirror, components, _ = RELEASES[RELEASE]
    if _codename() == RELEASE:
        for source in _sources():
            shutil.copy(source, apt / source.relative_to("/etc/apt"))
    else:
        suites = (RELEASE, f"{RELEASE}-updates")
        _write(apt / "sources.list", "\n".join(f"deb {mirror or _mirror()} {suite} {components}" for suite in suites))
    fetching = [line for line in sh("apt-config", "dump").stdout.splitlines() if line.startswith("Acquire::")]
    _write(apt / "apt.conf.d/80host", "\n".join(fetching))
    resolved = Path("/run/systemd/resolve/resolv.conf")  # what stands behind a resolver on loopback
    names = Path("/etc/resolv.conf").read_text()
    if re.search(r"^nameserver\s+127\.", names, re.MULTILINE) and resolved.exists():
        names = resolved.read_text()
    _write(root / "etc/resolv.conf", names)
    known = Path("/etc/hosts")
    lines = known.read_text().splitlines() if known.exists() else []
    _write(root / "etc/hosts", "\n".join(line for line in lines if not line.startswith(_OWN_NAMES)))
    # Beside Debian's own authorities, for pip alone: whom a machine trusts is its owner's affair.
    (root / "etc/pip").mkdir()
    shutil.copy(_BUNDLE, root / _PIP_BUNDLE.relative_to("/"))
    words = {"PIP_CERT": str(_PIP_BUNDLE)} | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    _write(root / "etc/environment", "\n".join(f"{name}={value}" for name, value in words.items()))
    _write(root / "etc/pip.conf", f"[global]\ncert = {_PIP_BUNDLE}")
    _write(root / "etc/default/locale", "LANG=C.UTF-8")


def _codename() -> str:
    """The release of this host, "" where it is none."""
    found = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _sources() -> list[Path]:
    """Where the host's apt gets packages from."""
    folder = Path("/etc/apt")
    found = (folder / "sources.list", *folder.glob("sources.list.d/*.list"), *folder.glob("sources.list.d/*.sources"))
    return [path for path in found if path.is_file()]


def _mirror() -> str:
    """The first mirror of the host."""
    for path in _sources():
        for line in path.read_text().splitlines():
            if found := re.match(r"(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(\S+)", line):
                return found[1]
    raise MachineError("this host's apt has no mirror that a Debian could be installed from")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip("\n") + "\n")
