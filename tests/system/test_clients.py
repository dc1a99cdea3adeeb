"""Clients people point at the host, set up as the README says: another Postfix, curl, mail programs by their libraries."""

import asyncio
import shutil
import subprocess
import tempfile
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

pytestmark = pytest.mark.system

MESSAGE = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: %b\r\nX-SMTPeter-Tags: client\r\n\r\nhello\r\n"

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/lib
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = client.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = [localhost]:{port}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{folder}/sasl_passwd
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = verify
smtp_tls_CAfile = {trust}
smtp_tls_wrappermode = {wrapper}
"""
MASTER_CF = """\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@pytest.fixture(params=["submission", "submissions"])
def client_postfix(request: pytest.FixtureRequest, service, login):
    """A second Postfix that relays through the service; the function hands it a message."""
    port = getattr(service, request.param)
    with tempfile.TemporaryDirectory(prefix="smtpeter-client-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        for part in ("etc", "spool", "lib"):
            (folder / part).mkdir()
        shutil.chown(folder / "lib", "postfix")
        trust = service.data / "tls" / "certificate.pem"
        wrapper = "yes" if request.param == "submissions" else "no"
        main = MAIN_CF.format(folder=folder, port=port, trust=trust, wrapper=wrapper)
        (folder / "etc" / "main.cf").write_text(main)
        (folder / "etc" / "master.cf").write_text(MASTER_CF)
        (folder / "sasl_passwd").write_text(f"[localhost]:{port} {login.name}:{login.password}\n")
        config = str(folder / "etc")
        subprocess.run(("postfix", "-c", config, "check"), check=True, capture_output=True)
        daemons = subprocess.run(("postconf", "-dh", "daemon_directory"), check=True, capture_output=True, text=True).stdout
        master = subprocess.Popen((f"{daemons.strip()}/master", "-c", config), start_new_session=True)

        def send(message: bytes) -> Path:
            command = ("sendmail", "-C", config, "-f", "news@example.com", "reader@example.net")
            subprocess.run(command, input=message, check=True, timeout=30)
            return folder / "mail.log"

        yield send
        master.terminate()
        master.wait()


def test_another_postfix_relays_through_the_service(service, wait, client_postfix) -> None:
    log = client_postfix(MESSAGE.replace(b"\r\n", b"\n") % b"from a postfix")

    def sent() -> str:
        text = log.read_text() if log.exists() else ""
        assert "status=deferred" not in text, text
        assert "status=bounced" not in text, text
        return text.rpartition("queued as ")[2].partition(")")[0] if "status=sent" in text else ""

    left = service.captured(wait(sent, "delivery by the client Postfix"))
    assert b"Subject: from a postfix\r\n" in left.header
    assert b"x-smtpeter" not in left.header.lower()
    assert b"DKIM-Signature:" in left.header


@pytest.mark.parametrize(("scheme", "listener"), [("smtp", "submission"), ("smtps", "submissions"), ("smtp", "smtp")])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_sends(service, login, tmp_path: Path, scheme: str, listener: str, mechanism: str) -> None:
    file = tmp_path / "message"
    file.write_bytes(MESSAGE % b"from curl")
    config = tmp_path / "curl"
    config.write_text(f'user = "{login.name}:{login.password}"\n')
    done = subprocess.run(
        (
            *("curl", "--silent", "--show-error", "--verbose", "--ssl-reqd", "--config", str(config)),
            *("--url", f"{scheme}://localhost:{getattr(service, listener)}/client.test"),
            *("--cacert", str(service.data / "tls" / "certificate.pem"), "--login-options", f"AUTH={mechanism}"),
            *("--mail-from", "news@example.com", "--mail-rcpt", "reader@example.net", "--upload-file", str(file)),
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    left = service.captured(done.stderr.rpartition("queued as ")[2].split()[0])
    assert left.body == b"hello\r\n"
    assert b"x-smtpeter" not in left.header.lower()


def test_an_asynchronous_application_sends(service, login) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "news@example.com", "reader@example.net", "from an application"
    message["X-SMTPeter-Tags"] = "application"
    message.set_content("hello\n")
    _, reply = asyncio.run(
        aiosmtplib.send(
            message,
            hostname="localhost",
            port=service.submission,
            start_tls=True,
            tls_context=service.trust,
            username=login.name,
            password=login.password,
        )
    )
    left = service.captured(reply.rpartition(" ")[2])
    assert b"x-smtpeter" not in left.header.lower()
