"""Certificates by ACME through the role: the mail host's from certbot, those of click hosts by Caddy when a visitor comes."""

import http.client
import re
import smtplib
import socket
import ssl
from contextlib import closing

import pytest

pytestmark = pytest.mark.machine

HOST = "mail.example.org"
OWN_CLICKS = f"clicks.{HOST}"
CLICKS = "clicks.shop.example"
STRANGER = "clicks.stranger.example"  # leads here too, and belongs to nobody


@pytest.fixture(scope="session")
def front(ground, bundle, make_sink, make_issuer, make_deployed, tmp_path_factory):
    """The service on a machine that gets all its certificates from an authority; and that authority."""
    if ground.network.shared:
        pytest.skip("machines share the ports of the host here, and the authority has port 443 too")
    machine = ground.machine("front")
    issuer = make_issuer((HOST, CLICKS, STRANGER), machine.address)
    root = issuer.save_root(tmp_path_factory.mktemp("issuer") / "root.pem")
    issuer.answers_for(machine)
    machine.trust(root)
    variables = {
        "smtpeter_bundle": str(bundle),
        "smtpeter_hostname": HOST,
        "smtpeter_relayhost": (sink := make_sink()).relayhost,
        "smtpeter_tls": "acme",
        "smtpeter_acme_directory": issuer.directory,
        "smtpeter_acme_authority": str(root),
        "smtpeter_settings": {"web": {"ca": "/etc/smtpeter/acme-authority.pem"}},
    }
    trust = ssl.create_default_context(cafile=str(root))
    yield make_deployed(machine, sink, trust, variables)
    machine.close()
    issuer.machine.close()


def shown(front, host: str, port: int = 443) -> dict:
    """The certificate that a port shows for a host name, which is looked at as browsers do. Raises ssl.SSLError."""
    with (
        closing(socket.create_connection((front.machine.address, port), 30)) as plain,
        closing(front.trust.wrap_socket(plain, server_hostname=host)) as wrapped,
    ):
        return wrapped.getpeercert()


def sent(front, login) -> tuple[str, bytes]:
    """A message with a link, sent by the mail host's own name; its mark, and what leaves of it."""
    mark, message = front.message()
    message = message.replace(b"news@example.com", b"news@shop.example")
    with smtplib.SMTP(front.machine.address, 587, local_hostname="client.test", timeout=30) as client:
        client._host = HOST  # who the certificate is to be of: smtplib takes the name it was connected with
        client.starttls(context=front.trust)
        client.login(login.name, login.password)
        client.sendmail("news@shop.example", ["reader@example.net"], message)
    return mark, front.left(mark).raw.partition(b"\r\n\r\n")[2].replace(b"=\r\n", b"")


@pytest.fixture(scope="session")
def login(front):
    """A login whose links are tracked, of an account with a sender domain, whose click host has been looked at."""
    front.smtpeter("account", "add", "shop", "--approve")
    front.smtpeter("domain", "add", "shop.example", "--account", "shop")
    front.smtpeter("domain", "probe")
    return front.login("trackclicks=true")


def test_the_mail_host_has_a_certificate_of_the_authority(front) -> None:
    assert ("DNS", HOST) in shown(front, HOST, 465)["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(front, "mail.example.com", 465)


def test_links_are_tracked_once_the_click_host_has_a_certificate(front, login) -> None:
    assert ("DNS", CLICKS) in shown(front, CLICKS)["subjectAltName"]
    mark, body = sent(front, login)
    path = re.search(rb'href=3?D?"https://clicks\.shop\.example(/[^"]+)"', body)[1].decode().replace("&amp;", "&")
    client = http.client.HTTPSConnection(front.machine.address, context=front.trust, timeout=30)
    with closing(client):
        client.sock = front.trust.wrap_socket(socket.create_connection((front.machine.address, 443), 30), server_hostname=CLICKS)
        client.request("GET", path, headers={"Host": CLICKS, "User-Agent": "Mozilla/5.0"})
        answer = client.getresponse()
        assert answer.status == 302
        assert answer.getheader("Location") == f"https://www.example.com/{mark}?a=1"


def test_no_certificate_is_fetched_for_a_host_that_is_nobodys(front, login) -> None:
    with pytest.raises(ssl.SSLError):
        shown(front, STRANGER)
    kept = front.machine.run("find /var/lib/caddy -name '*.crt'").stdout
    assert CLICKS in kept
    assert STRANGER not in kept


def test_the_canary_passes_with_all_of_it(front, login) -> None:
    found = {row["what"]: row["status"] for row in front.json("check", "--live")}
    assert set(found.values()) == {"ok"}, found


@pytest.fixture(scope="session")
def without_caddy(front, login):
    """The certificate from before, and what the role printed as it took Caddy away."""
    return shown(front, HOST, 465), front.play(smtpeter_caddy=False)


def test_without_caddy_certbot_answers_by_itself(front, without_caddy) -> None:
    before, played = without_caddy
    assert played.passed, played.ended()
    assert "authenticator = standalone" in front.machine.read("/etc/letsencrypt/renewal/smtpeter.conf").decode()
    assert shown(front, HOST, 465)["serialNumber"] != before["serialNumber"]
    second = front.play(smtpeter_caddy=False)
    assert second.changed == 0, re.findall(r"^changed: [^\n]*", second.output, re.MULTILINE)
