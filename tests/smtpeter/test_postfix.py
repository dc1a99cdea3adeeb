"""The private Postfix instance: what it says when it cannot be, and mail through it, the sink and the supervisor."""

import ipaddress
import json
import os
import random
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smtpeter import capture
from smtpeter.certificate import ensure
from smtpeter.errors import UserError
from smtpeter.ports import Ports
from smtpeter.postfix import Instance, source_directory
from smtpeter.supervisor import Child, Supervisor

ALL = str(ipaddress.IPv4Address(0))
pytestmark = pytest.mark.system

SERVE = "import sys; from pathlib import Path; from smtpeter.capture import serve; serve(Path(sys.argv[1]))"
# A relay for loopback: neither milter nor SASL, which are other processes' business.
OPEN = {
    "smtpd_milters": "",
    "smtpd_sasl_auth_enable": "no",
    "smtpd_tls_security_level": "may",
    "smtpd_sender_restrictions": "",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_recipient_restrictions": "",
    "smtpd_data_restrictions": "",
    "mynetworks": "127.0.0.0/8",
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path that user postfix can pass through."""
    path = Path(tempfile.mkdtemp(prefix="smtpeter-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def instance(directory: Path) -> Instance:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    ensure(certificate, key, hostname="mail.example.com", now=datetime.now(UTC))
    numbers: list[int] = []
    while len(numbers) < 3:
        number = random.randrange(31000, 32000)
        with socket.socket() as probe:
            if number not in numbers and probe.connect_ex(("127.0.0.1", number)):
                numbers.append(number)
    return Instance(
        directory=directory / "postfix",
        source=source_directory(),
        hostname="mail.example.com",
        listen=("127.0.0.1",),
        ports=Ports(smtp=numbers[0], submission=numbers[1], submissions=numbers[2]),
        run=directory / "run",
        certificate=certificate,
        key=key,
        extra=OPEN,
    )


def postconf(instance: Instance, *arguments: str) -> str:
    command = ("/usr/sbin/postconf", "-c", str(instance.config), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_prepared_instance_is_well(instance: Instance) -> None:
    instance.prepare()
    assert instance.check() == ()


def test_etc_postfix_is_not_touched(instance: Instance) -> None:
    def seen() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in Path("/etc/postfix").rglob("*"))

    before = seen()
    instance.prepare()
    instance.check()
    assert seen() == before


def test_the_queue_has_the_owners_and_modes_that_postfix_wants(instance: Instance) -> None:
    instance.prepare()
    done = subprocess.run(("/usr/sbin/postfix", "-c", str(instance.config), "set-permissions"), capture_output=True, check=True)

    def seen() -> list[tuple[str, int, int, int]]:
        return sorted(
            (str(path), status.st_mode, status.st_uid, status.st_gid)
            for path in (*instance.queue.rglob("*"), instance.directory / "lib")
            for status in [path.stat()]
        )

    corrected = seen()
    shutil.rmtree(instance.directory)
    instance.prepare()
    assert done.returncode == 0
    assert seen() == corrected


def test_a_defect_is_reported(instance: Instance) -> None:
    replace(instance, extra={**OPEN, "smtpd_miltres": "x"}).prepare()
    assert [line for line in instance.check() if "unused parameter: smtpd_miltres=x" in line]


def test_the_values_of_the_site(instance: Instance) -> None:
    replace(instance, nexthop="[127.0.0.1]:2525").prepare()
    names = ("myhostname", "relayhost", "inet_interfaces", "smtpeter_run", "queue_directory")
    assert postconf(instance, "-h", *names).splitlines() == [
        "mail.example.com",
        "[127.0.0.1]:2525",
        "127.0.0.1",
        str(instance.run),
        str(instance.queue),
    ]
    ports = {line.split()[0] for line in postconf(instance, "-M").splitlines() if line.split()[1] == "inet"}
    internal = postconf(instance, "-h", "smtpeter_internal_port")
    assert ports == {*(str(port) for port in instance.ports.all()), f"127.0.0.1:{internal}"}
    assert len(ports) == 4


def test_the_port_for_copies_is_the_one_that_was_chosen(instance: Instance) -> None:
    port = instance.ports.smtp + 1000
    replace(instance, internal=port).prepare()
    assert postconf(instance, "-h", "smtpeter_internal_port") == str(port)
    assert f"127.0.0.1:{port}" in postconf(instance, "-M")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(UserError, match=rf"port {port} is in use by .*: stop it, or set another as internal in \[listen\]"),
    ):
        replace(instance, internal=port).prepare()


@pytest.mark.parametrize(
    ("listen", "interfaces", "protocols"),
    [
        ((ALL,), "all", {"ipv4"}),
        ((ALL, "::"), "all", {"all", "ipv4"}),
        (("127.0.0.1", "127.0.0.2"), "127.0.0.1, 127.0.0.2", {"all", "ipv4"}),
    ],
)
def test_addresses(instance: Instance, listen: tuple[str, ...], interfaces: str, protocols: set[str]) -> None:
    parameters = replace(instance, listen=listen).parameters()
    assert parameters["inet_interfaces"] == interfaces
    assert parameters["inet_protocols"] in protocols


def test_a_port_in_use_is_named(instance: Instance) -> None:
    port = instance.ports.submission
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(UserError, match=rf"port {port} is in use by .*\(pid {os.getpid()}\): .* --ports 2525,2587,2465"),
    ):
        instance.prepare()


def test_a_folder_that_user_postfix_cannot_pass_is_named(instance: Instance, directory: Path) -> None:
    directory.chmod(0o700)
    with pytest.raises(UserError, match=f"user postfix cannot pass through {directory}: .* chmod o[+]x {directory}$"):
        instance.prepare()


def test_a_socket_path_that_is_too_long_is_named(instance: Instance, directory: Path) -> None:
    with pytest.raises(UserError, match="is longer than 107 octets"):
        replace(instance, run=directory / ("x" * 100)).prepare()


def test_a_folder_that_cannot_be_made_is_named(instance: Instance, directory: Path) -> None:
    (directory / "file").touch()
    with pytest.raises(UserError, match=f"{directory}/file/etc cannot be made: Not a directory"):
        replace(instance, directory=directory / "file").prepare()


def test_without_root_it_says_so(instance: Instance, directory: Path) -> None:
    """In a process that has given up root."""
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            instance.prepare()
        except UserError as error:
            os._exit(0 if str(error) == "Postfix can only be started by root: use sudo" else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert not instance.directory.exists()


def alive(instance: Instance) -> list[str]:
    """The processes that belong to the instance: those whose current directory is its queue."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == instance.queue:
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return sorted(found)


def captured(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.eml"))


def test_mail_goes_through_and_survives_the_death_of_master(instance: Instance, directory: Path) -> None:
    out = directory / "out"
    log: list[str] = []
    with capture.listen() as listener, Supervisor(log.append) as supervisor:
        instance = replace(instance, nexthop=f"[127.0.0.1]:{listener.getsockname()[1]}")
        began = time.monotonic()
        instance.prepare()
        argv = (sys.executable, "-c", SERVE, str(out))
        supervisor.start(Child(name="capture", argv=argv, sockets={"capture": listener}))
        supervisor.start(Child(name="postfix", argv=instance.command()))
        assert supervisor.wait_until(instance.ready, 20, "Postfix")
        assert time.monotonic() - began < 2

        with smtplib.SMTP("127.0.0.1", instance.ports.submission, local_hostname="client.test", timeout=20) as client:
            client.sendmail(
                "a@example.com",
                ["b@example.org", "c@example.org"],
                b"Subject: one\r\nX-SMTPeter-Tags: t\r\n u\r\n\r\n" + b"L" * 2000 + b"\r\n.\r\n\xc3\xa9\r\n",
                mail_options=["RET=HDRS", "ENVID=Ab"],
            )
        assert supervisor.wait_until(lambda: len(captured(out)) == 1, 20, "the message")
        (first,) = captured(out)
        header, _, body = first.read_bytes().partition(b"\r\n\r\n")
        assert b"Subject: one\r\n" in header
        assert b"smtpeter-tags" not in header.lower()
        assert body == b"L" * 2000 + b"\r\n.\r\n\xc3\xa9\r\n"
        envelope = json.loads(first.with_suffix(".json").read_text())
        assert [one["address"] for one in envelope["rcpt_to"]] == ["b@example.org", "c@example.org"]
        assert envelope["mail_parameters"]["ENVID"] == "Ab"

        # A session that is open keeps its smtpd(8) alive, and the port taken, unless somebody ends it.
        with smtplib.SMTP("127.0.0.1", instance.ports.submission, local_hostname="client.test", timeout=20) as client:
            pid = supervisor.pid("postfix")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            supervisor.wait_until(lambda: supervisor.pid("postfix") not in {pid, None}, 10, "the restart")
            assert supervisor.wait_until(instance.ready, 10, "Postfix after its death")
            with pytest.raises(smtplib.SMTPServerDisconnected):
                client.noop()
            client.close()
        with smtplib.SMTP("127.0.0.1", instance.ports.smtp, local_hostname="client.test", timeout=20) as client:
            client.sendmail("a@example.com", ["b@example.org"], b"Subject: two\r\n\r\nhi\r\n")
        assert supervisor.wait_until(lambda: len(captured(out)) == 2, 20, "the second message")
        assert "master" in alive(instance)
    assert alive(instance) == []
    assert instance.complaint() == ""
    assert "stopped (ended by SIGTERM)" in "".join(log)


UP = """
import sys
from smtpeter.supervisor import Child, Supervisor
with Supervisor(print) as supervisor:
    supervisor.start(Child(name="postfix", argv=tuple(sys.argv[1:])))
    supervisor.run()
"""


def test_nothing_is_left_when_the_supervisor_is_killed(instance: Instance) -> None:
    instance.prepare()
    with subprocess.Popen((sys.executable, "-c", UP, *instance.command()), stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 20
        while not instance.ready() and time.monotonic() < end:
            time.sleep(0.02)
        with smtplib.SMTP("127.0.0.1", instance.ports.smtp, local_hostname="client.test", timeout=20) as client:
            assert {"master", "qmgr", "smtpd"} <= set(alive(instance))
            process.kill()
            process.wait()
            while alive(instance) and time.monotonic() < end:
                time.sleep(0.02)
            assert alive(instance) == []
            client.close()


def test_what_postfix_gives_up_over_is_found_in_its_log(instance: Instance) -> None:
    instance.prepare()
    (instance.config / "master.cf").write_text("nonsense\n")
    subprocess.run(instance.command(), start_new_session=True, check=False, timeout=20)
    assert "fatal: " in instance.complaint()
    assert "master.cf" in instance.complaint()
