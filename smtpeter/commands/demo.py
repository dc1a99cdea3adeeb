"""`smtpeter demo`: one message through everything, before and after, on a service that exists for this moment only."""

import json
import re
import smtplib
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, Any

import typer

from filters.mail import parts
from filters.mail.message import Message
from filters.overrides import is_control
from filters.sign_dkim import verify
from smtpeter import sample
from smtpeter.errors import UserError
from smtpeter.ports import Ports, unused_port
from smtpeter.trust import client_context

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
            web_port = unused_port("127.0.0.1", but=chosen.all())
            service = _start(place, chosen, web_port, log)
            try:
                _wait_until_ready(service, place)
                login = _set_up(place)
                sent = sample.newsletter(datetime.now(UTC), f"<demo.{time.time_ns()}@{DOMAIN}>")
                _send(place, chosen, login, sent)
                received = _captured(place)
                visited = _visited(web_port, received)
            finally:
                service.terminate()
                service.wait()
        sound = _show(place, sent, received, visited)
    raise typer.Exit(0 if sound else 1)


def _start(place: Path, ports: Ports, web_port: int, log: Any) -> "subprocess.Popen[bytes]":
    words = ("up", "--listen", "127.0.0.1", "--ports", ",".join(map(str, ports.all())), "--capture", str(place / "outbox"))
    return subprocess.Popen(_command(place, *words, "--web-port", str(web_port)), stdout=log, stderr=log)


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
    trust = client_context(place / "data" / "tls" / "certificate.pem")
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


def _visited(port: int, received: bytes) -> list[tuple[str, str]]:
    """Each tracked URL of the message, and where the tracking host sends a visitor."""
    message = Message.parse(received)
    html = next(part for part in parts.scan(message).leaves if part.content_type == "text/html")
    found = []
    for url in re.findall(rb'"https://(clicks[^"]+)"', parts.content(message, html)):
        host, _, rest = unescape(url.decode()).partition("/")
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.request("GET", f"/{rest}", headers={"Host": host})
        answer = connection.getresponse()
        found.append(
            (f"https://{host}/{rest}", answer.headers["Location"] or f"{answer.status} {answer.headers['Content-Type']}")
        )
        connection.close()
    return found


def _show(place: Path, sent: bytes, received: bytes, visited: list[tuple[str, str]]) -> bool:
    typer.echo(f"===== sent =====\n{sent.decode()}\n===== received by the next mail server =====\n{received.decode()}")
    typer.echo("===== what was applied =====")
    for line in (place / "log").read_text(errors="replace").splitlines():
        if "smtpeter.milter" in line and "queue_id=" in line:
            typer.echo(line.partition(": ")[2])
    records = json.loads((place / "records.json").read_text())
    verified = verify(received, records)
    left = [field.name.decode() for field in Message.parse(received).fields if is_control(field)]
    inlined = b"style=3D" in received
    typer.echo("===== where the links lead =====")
    for url, leads in visited:
        typer.echo(f"{url}\n  -> {leads}")
    facts = {
        "DKIM signature verifies": verified,
        "no control field left": not left,
        "CSS is inlined": inlined,
        "a click on the link lands where the sender meant": sample.LINK in {leads for _, leads in visited},
        "the invisible image is served": "200 image/gif" in {leads for _, leads in visited},
    }
    for what, good in facts.items():
        typer.echo(f"{'yes' if good else 'NO '}  {what}")
    return all(facts.values())
