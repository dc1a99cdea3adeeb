"""What `smtpeter check` says of a Postfix that it has not set up itself, asked of the real postconf(1)."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpeter import host_postfix
from smtpeter.commands.check import check_postfix
from smtpeter.postfix import FILES, complaints, source_directory
from smtpeter.sections import Postfix, Tls
from smtpeter.settings import Settings

# What the role sets (postconf -e), and what a site may.
SITE = {
    "myhostname": "mail.example.com",
    "smtpeter_run": "/run/smtpeter",
    "smtpeter_certificate": "/etc/smtpeter/tls/certificate.pem",
    "smtpeter_key": "/etc/smtpeter/tls/key.pem",
    "maillog_file": "/var/log/smtpeter/mail.log",
    "inet_interfaces": "192.0.2.1",
    "relayhost": "[mail.example.net]:25",
    "maximal_queue_lifetime": "3d",
    "transport_maps": "hash:/etc/postfix/transport, inline:{ { $smtpeter_canary_domain = canary:unix:$smtpeter_run/canary } }",
    "smtpd_sender_restrictions": "check_sender_access hash:/etc/postfix/senders, permit_sasl_authenticated, "
    "check_sender_access static:{530 5.7.0 Authentication required}",
}

Set = Callable[..., None]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A folder like /etc/postfix, as the role leaves it."""
    folder = tmp_path / "postfix"
    folder.mkdir()
    for name in FILES:
        shutil.copy(source_directory() / name, folder)
    postconf(folder, "-e", *(f"{name}={value}" for name, value in SITE.items()))
    postconf(folder, "-P", "587/inet/smtpd_upstream_proxy_protocol=haproxy")
    return folder


def postconf(config: Path, *words: str) -> None:
    subprocess.run(("postconf", "-c", str(config), *words), check=True, timeout=30)


@pytest.fixture
def settings(tmp_path: Path, config: Path) -> Settings:
    return Settings(
        data=tmp_path / "data",
        sockets=Path("/run/smtpeter"),
        hostname="mail.example.com",
        tls=Tls(certificate=Path("/etc/smtpeter/tls/certificate.pem"), key=Path("/etc/smtpeter/tls/key.pem")),
        postfix=Postfix(config=config, log=Path("/var/log/smtpeter/mail.log")),
    )


def test_what_the_role_leaves_is_as_it_must_be(settings: Settings, config: Path) -> None:
    assert list(host_postfix.differences(settings, config)) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-e", "smtpd_milters="), "main.cf: smtpd_milters is '' instead of 'unix:$smtpeter_run/milter'"),
        (("-X", "milter_default_action"), "main.cf: milter_default_action is not set instead of 'tempfail'"),
        (("-e", "mynetworks=127.0.0.0/8"), "main.cf: mynetworks is '127.0.0.0/8' instead of ''"),
        (("-e", "smtpeter_run=/run/other"), "main.cf: smtpeter_run is '/run/other' instead of '/run/smtpeter'"),
        (("-e", "myhostname=other.example.com"), "main.cf: myhostname is 'other.example.com' instead of 'mail.example.com'"),
        (("-e", "maillog_file=/dev/stdout"), "main.cf: maillog_file is '/dev/stdout' instead of '/var/log/smtpeter/mail.log'"),
        (
            ("-e", "smtpd_end_of_data_restrictions=permit"),
            "main.cf: smtpd_end_of_data_restrictions is 'permit', and is to be left out: a rejection there lets a client go on"
            " past the milter",
        ),
        (
            ("-e", "smtpd_sender_restrictions=permit_sasl_authenticated"),
            "main.cf: smtpd_sender_restrictions is 'permit_sasl_authenticated' instead of"
            " 'permit_sasl_authenticated, check_sender_access static:{530 5.7.0 Authentication required}'",
        ),
        (("-MX", "split/unix"), "master.cf: there is no service split/unix"),
        (("-F", "465/inet/chroot=y"), "master.cf: service 465/inet is chrooted, so it does not find the sockets of smtpeter"),
        (("-F", "scache/unix/command=discard"), "master.cf: service scache/unix is discard instead of scache"),
        (
            ("-P", "587/inet/milter_macro_daemon_name=INTERNAL"),
            "master.cf: 587/inet/milter_macro_daemon_name is 'INTERNAL' instead of 'ORIGINATING'",
        ),
    ],
)
def test_what_differs_is_told(settings: Settings, config: Path, words: tuple[str, ...], told: str) -> None:
    postconf(config, *words)
    found = list(host_postfix.differences(settings, config))
    assert found[:1] == [told]
    # Postfix does not know of a parameter whose service is gone, or another one.
    service = told.split("/")[0].split()[-1]
    assert all(line.startswith(f"main.cf: {service}_destination_") for line in found[1:])


def test_check_looks_at_the_host_and_not_at_an_instance_of_its_own(settings: Settings, config: Path) -> None:
    # A folder of its own to work in, so that nothing of this host is asked whether it runs.
    postconf(config, "-e", f"queue_directory={config.parent / 'queue'}", f"data_directory={config.parent / 'lib'}")
    postconf(config, "-e", "mynetworks=192.0.2.0/24", "no_such_parameter=1")
    found = [(finding.status, finding.advice) for finding in check_postfix(settings)]
    assert ("warning", "main.cf: mynetworks is '192.0.2.0/24' instead of ''") in found
    assert ("error", f"the Postfix of {config} does not run; `systemctl start postfix`") in found
    (unused,) = [advice for status, advice in found if "no_such_parameter" in advice and status == "error"]
    assert "unused parameter" in unused
    assert ("warning", "not configured yet; `smtpeter up` does it") not in found


def test_a_folder_without_files_is_an_error(settings: Settings, tmp_path: Path) -> None:
    assert complaints(tmp_path / "nothing", tmp_path / "log")
    assert not host_postfix.running(tmp_path / "nothing")
