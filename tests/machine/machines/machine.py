"""A machine: a bare Debian booted by systemd-nspawn with a real systemd, in namespaces of its own.

Its files are an overlay over the shared bare system; the overlay is kept while the machine is off, so it can lose its
power and start again. Every boot is one process tree in its own PID namespace under `unshare`, which is tied to this
process: whatever ends the tests ends the machines, and their mounts with them.
"""

import json
import shlex
import shutil
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import IO

from . import cgroups
from .debian import bare, give_host_words
from .network import Network
from .process import MachineError, children, leashed, sh, wait_until

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLEAN = ("/usr/bin/env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb")
# The overlay need not survive a crash of this host, so nothing in it is ever synced to the disk: it is faster so, and it
# spares the disk. A mount is refused after an unclean end until this mark is removed (overlayfs, "Volatile mount").
_VOLATILE = "incompat/volatile"
_MOUNT = "mount -t overlay overlay -o lowerdir={bare},upperdir={upper},workdir={work},volatile {root}"


class Machine:
    """One machine. `start` before anything else; `close` takes it away for good."""

    def __init__(self, name: str, folder: Path, network: Network, key: Path) -> None:
        """`folder` is for the machine alone; `key`: private key that ssh lets root in with, `.pub` beside it."""
        self.name, self.key, self._folder, self._network = name, key, folder, network
        self.address = network.address()
        self.ssh_port = _free_port() if network.shared else 22
        self._unshare: subprocess.Popen[bytes] | None = None
        self._console: IO[bytes] | None = None
        self._leader = 0
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        folder.chmod(0o711)
        (folder / "upper").chmod(0o755)
        self._install()
        parts = {part: folder / part for part in ("upper", "work", "root")}
        self._mount = _MOUNT.format(bare=bare(), **parts)
        if sh("unshare", "--mount", "sh", "-c", self._mount, check=False).returncode != 0:
            # The folder is itself on an overlay, as in some containers: a copy, then, which takes longer to make.
            self._mount = "true"
            for source in (bare(), folder / "upper"):
                sh("cp", "-a", "--reflink=auto", f"{source}/.", str(folder / "root"), timeout=300)

    def start(self) -> None:
        """Boots the machine and returns when everything it starts has started and ssh answers."""
        assert self._unshare is None, f"{self.name} is running"
        self._forget_mount()
        nspawn = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self._folder / 'root'}", f"--machine={self.name}"]
        nspawn += ["--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"]
        if not self._network.shared:
            # A real machine may shape its own network and raise its own limits.
            nspawn += ["--network-namespace-path=/proc/self/ns/net", "--capability=CAP_NET_ADMIN,CAP_SYS_RESOURCE"]
        # The script waits for its cable: the machine is to find its address when it boots.
        script = f"read -r go && {self._mount} && SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec {shlex.join(nspawn)} </dev/null"
        namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        namespaces += [] if self._network.shared else ["--net"]
        self._console = (self._folder / "console").open("ab")
        unshare = ("/usr/bin/unshare", *namespaces, "/bin/sh", "-c", script)
        self._unshare = leashed(*unshare, stdin=subprocess.PIPE, output=self._console)
        try:
            self._boot(self._unshare)
        except BaseException:
            self.kill()
            raise

    def run(
        self, command: str, *, check: bool = True, timeout: float = 120, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell inside as root; `check`: MachineError with its output where it fails."""
        done = sh(*self._inside("sh", "-c", command), check=False, timeout=timeout, stdin=stdin)
        if check and done.returncode != 0:
            said = f"{done.stdout[-6000:]}{done.stderr[-6000:]}"
            raise MachineError(f"{self.name}: {command}: ended with {done.returncode}: {said}")
        return done

    def spawn(self, *argv: str, stdin: int | None = None, output: IO[bytes] | int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        """Starts a program inside and returns at once; it ends with the tests at the latest."""
        return leashed(*self._inside(*argv), stdin=subprocess.DEVNULL if stdin is None else stdin, output=output)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file inside, its folder made where missing."""
        octets = content.encode() if isinstance(content, str) else content
        place = shlex.quote(path)
        line = f'mkdir -p "$(dirname {place})" && umask 077 && cat >{place} && chmod {mode:o} {place}'
        done = subprocess.run(self._inside("sh", "-c", line), input=octets, capture_output=True, check=False, timeout=120)
        if done.returncode != 0:
            raise MachineError(f"{self.name}: {path} cannot be written: {done.stderr.decode()}")

    def read(self, path: str) -> bytes:
        """The content of a file inside."""
        done = subprocess.run(self._inside("cat", path), capture_output=True, check=False, timeout=120)
        if done.returncode != 0:
            raise MachineError(f"{self.name}: {path} cannot be read: {done.stderr.decode()}")
        return done.stdout

    def trust(self, authority: Path) -> None:
        """Has the machine trust an authority, as its owner would."""
        self.write("/usr/local/share/ca-certificates/tests.crt", authority.read_bytes())
        self.run("update-ca-certificates")

    def json(self, command: str) -> object:
        """What a command inside prints, as JSON."""
        return json.loads(self.run(command).stdout)

    def journal(self, *words: str) -> str:
        """Lines of the machine's system journal; words are arguments of journalctl(1), such as `-u NAME`."""
        return self.run(shlex.join(("journalctl", "--no-pager", "--output=short-precise", *words))).stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit (systemctl show)."""
        return self.run(shlex.join(("systemctl", "show", "--value", "--property", name, unit))).stdout.strip()

    def console(self) -> str:
        """What systemd and systemd-nspawn have said."""
        return (self._folder / "console").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._unshare is not None

    def kill(self) -> None:
        """Ends every process inside with SIGKILL, as a power cut does; whom it talked to hears nothing, not even a reset.

        What was written before is kept, synced or not: the machine's memory of files is this host's.
        """
        if self._unshare is None:
            return
        if self._leader:
            self._network.unplug(self.address)
        self._unshare.kill()  # its child, the first process of the PID namespace, is killed by the kernel, and all others by that
        self._ended(self._unshare)

    def poweroff(self) -> None:
        """Shuts the machine down as its owner does."""
        assert self._unshare is not None, f"{self.name} is off"
        self.run("systemctl poweroff", check=False)
        unshare = self._unshare
        wait_until(lambda: unshare.poll() is not None, f"{self.name} shuts down", 90)
        self._ended(unshare)

    def disconnect(self) -> None:
        """Pulls the cable of the network."""
        self._network.unplug(self.address)

    def connect(self) -> None:
        """Puts the cable back."""
        self._network.replug(self.address)

    def close(self) -> None:
        """Takes the machine away."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget_mount(self) -> None:
        shutil.rmtree(self._folder / "work" / "work" / _VOLATILE, ignore_errors=True)

    def _inside(self, *argv: str) -> tuple[str, ...]:
        return ("/usr/bin/nsenter", "-a", "-t", str(self._leader), *_CLEAN, *argv)

    def _install(self) -> None:
        """What the one who installs a machine gives it: a name, a way to the mirrors, a key for ssh."""
        upper = self._folder / "upper"
        (upper / "etc/ssh/sshd_config.d").mkdir(parents=True)
        give_host_words(upper)
        (upper / "etc/hostname").write_text(f"{self.name}\n")
        with (upper / "etc/hosts").open("a") as hosts:
            own = "" if self._network.shared else f"{self.address} {self.name}.example.com {self.name}\n"
            hosts.write(f"127.0.0.1 localhost\n::1 localhost\n{own}")
        (upper / "root/.ssh").mkdir(parents=True, mode=0o700)
        (upper / "root").chmod(0o700)
        shutil.copy(self.key.with_suffix(".pub"), upper / "root/.ssh/authorized_keys")
        (upper / "etc/ssh/sshd_config.d/port.conf").write_text(f"Port {self.ssh_port}\n")

    def _boot(self, unshare: "subprocess.Popen[bytes]") -> None:
        wait_until(lambda: children(unshare.pid), "namespaces")
        [first] = children(unshare.pid)
        own = Path("/proc/self/ns/pid").readlink()
        wait_until(lambda: Path(f"/proc/{first}/ns/pid").readlink() != own, "a PID namespace")
        cgroups.enter(first, cgroups.named(self.name, self._folder.parent.name))
        self._network.plug(first, self.address)
        assert unshare.stdin is not None
        unshare.stdin.write(b"go\n")
        unshare.stdin.close()
        wait_until(lambda: self._find_leader(unshare), f"systemd runs in {self.name}", 30)
        wait_until(self._is_up, f"{self.name} has started: {self.console()}", 90, every=0.1)
        wait_until(self._ssh_answers, f"ssh answers on {self.name}", 30)

    def _find_leader(self, unshare: "subprocess.Popen[bytes]") -> bool:
        """Finds the first process inside as this host sees it; a MachineError where systemd-nspawn has given up."""
        if unshare.poll() is not None:
            raise MachineError(f"systemd-nspawn cannot boot a machine on this host: {self.console()}")
        for first in children(unshare.pid):
            for child in children(first):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    self._leader = child
                    return True
        return False

    def _is_up(self) -> bool:
        done = self.run("systemctl is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def _ssh_answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.ssh_port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _ended(self, unshare: "subprocess.Popen[bytes]") -> None:
        unshare.wait(30)
        leader, self._leader, self._unshare = self._leader, 0, None
        for file in (self._console, unshare.stdin):
            if file is not None:
                file.close()
        if leader:
            wait_until(lambda: not Path(f"/proc/{leader}").exists(), f"the processes of {self.name} are gone", 30)
        for cgroup in cgroups.named(self.name, self._folder.parent.name):
            wait_until(lambda place=cgroup: cgroups.remove(place), f"{cgroup} is empty", 30)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
