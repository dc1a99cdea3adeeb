"""`smtpeter demo`: one message through everything, before and after, on a service that exists for this moment only."""

import json
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from filters.mail.message import Message
from filters.overrides import is_control
from filters.sign_dkim import verify
from smtpeter import sample
from smtpeter.errors import UserError
from smtpeter.ports import Ports

DOMAIN = "example.com"
SECONDS = 60.0


def demo(
    ports: Annotated[str, typer.Option(help="Three ports: two for STARTTLS, the third for TLS at once.")] = "25,587,465",
) -> None:
    """Send a sample newsletter over the submission port with STARTTLS and show it before and after."""
    chosen = Ports.parse(ports)
    with tempfile.TemporaryDirectory(prefix="smtpeter-demo-") as folder:
        place = Path(folder)
        place.chmod(0o711)  # the user postfix passes through
        with (place / "log").open("wb") as log:
            service = _start(place, chosen, log)
            try:
                _wait_until_ready(service, place)
                login = _set_up(place)
                sent = sample.newsletter(datetime.now(UTC), f"<demo.{time.time_ns()}@{DOMAIN}>")
                _send(place, chosen, login, sent)
                received = _captured(place)
            finally:
                service.terminate()
                service.wait()
        sound = _show(place, sent, received)
    raise typer.Exit(0 if sound else 1)


def _start(place: Path, ports: Ports, log: Any) -> "subprocess.Popen[bytes]":
    words = ("up", "--listen", "127.0.0.1", "--ports", ",".join(map(str, ports.all())), "--capture", str(place / "outbox"))
    return subprocess.Popen(_command(place, *words), stdout=log, stderr=log)


def _command(place: Path, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "smtpeter", "--data", str(place / "data"), *words)


def _wait_until_ready(service: "subprocess.Popen[bytes]", place: Path) -> None:
    limit = time.monotonic() + SECONDS
    while "smtpeter is ready" not in (text := (place / "log").read_text(errors="replace")):
        if service.poll() is not None or time.monotonic() > limit:
            raise UserError(
                f"the service did not start: {text.strip().splitlines()[-1].removeprefix('smtpeter: ') if text else ''}"
            )
        time.sleep(0.1)


def _set_up(place: Path) -> dict[str, Any]:
    def smtpeter(*words: str) -> str:
        return subprocess.run(_command(place, *words), check=True, capture_output=True, text=True).stdout

    smtpeter("account", "add", "demo", "--approve")
    records = json.loads(smtpeter("domain", "add", DOMAIN, "--account", "demo", "--json"))["records"]
    login = json.loads(smtpeter("login", "add", "--account", "demo", "--json"))
    return {**login, "records": {record["name"]: record["value"] for record in records}}


def _send(place: Path, ports: Ports, login: dict[str, Any], message: bytes) -> None:
    (place / "records.json").write_text(json.dumps(login["records"]))
    trust = ssl.create_default_context(cafile=str(place / "data" / "tls" / "certificate.pem"))
    with smtplib.SMTP("localhost", ports.submission, local_hostname="localhost", timeout=30) as client:
        client.starttls(context=trust)
        client.login(login["name"], login["password"])
        client.sendmail(sample.SENDER, [sample.RECIPIENT], message)


def _captured(place: Path) -> bytes:
    limit = time.monotonic() + SECONDS
    while not (found := sorted((place / "outbox").glob("*.eml"))):
        if time.monotonic() > limit:
            raise UserError("the message did not come out within a minute")
        time.sleep(0.1)
    return found[0].read_bytes()


def _show(place: Path, sent: bytes, received: bytes) -> bool:
    typer.echo(f"===== sent =====\n{sent.decode()}\n===== received by the next mail server =====\n{received.decode()}")
    typer.echo("===== what was applied =====")
    for line in (place / "log").read_text(errors="replace").splitlines():
        if "smtpeter.milter" in line and "queue_id=" in line:
            typer.echo(line.partition(": ")[2])
    records = json.loads((place / "records.json").read_text())
    verified = verify(received, records)
    left = [field.name.decode() for field in Message.parse(received).fields if is_control(field)]
    inlined = b"style=3D" in received
    for what, good in (("DKIM signature verifies", verified), ("no control field left", not left), ("CSS is inlined", inlined)):
        typer.echo(f"{'yes' if good else 'NO '}  {what}")
    return verified and not left and inlined
