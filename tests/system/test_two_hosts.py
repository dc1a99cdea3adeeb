"""Two hosts with one PostgreSQL, key ring and master key: what one of them sent is answered by the other."""

import base64
import html
import http.client
import quopri
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from journal.store import JournalStore

pytestmark = pytest.mark.system

AGENT = {"Host": "clicks.example.com", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGOoBwAAgQCA05RTSgAAAABJRU5ErkJggg==")
LINK = "https://www.example.com/offer"


@dataclass(frozen=True)
class Hosts:
    """Both hosts, and a login that either takes."""

    one: Any
    two: Any
    login: Any
    journal: JournalStore


def message(picture: bytes) -> bytes:
    shown = base64.encodebytes(picture).replace(b"\n", b"\r\n")
    return (
        b"From: News <news@example.com>\r\nTo: Anna <anna@example.net>\r\nSubject: two hosts\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/related; boundary="related"\r\n\r\n'
        b"--related\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        b'<p><a href="%b">offer</a> <img src="cid:logo@example.com"></p>\r\n'
        b"--related\r\nContent-Type: image/png\r\nContent-ID: <logo@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"%b--related--\r\n" % (LINK.encode(), shown)
    )


@pytest.fixture
def hosts(make_service: Callable[..., Any], postgresql) -> Iterator[Hosts]:
    journal = postgresql.database()
    made: list[Any] = []
    for name in ("one", "two"):
        service = make_service(started=False)
        service.data.mkdir()
        # The logins are in a file, so that mail goes on while the journal's server is stopped.
        policy = (made or [service])[0].data / "policy.db"
        service.settings = service.folder / "smtpeter.toml"
        service.settings.write_text(
            f'hostname = "{name}.test"\ndatabase = "sqlite:///{policy}"\nusage = "sqlite:///{policy.with_name("usage.db")}"\n'
            f'[journal]\ndatabase = "{journal}"\n'
        )
        if made:
            for key in ("keys.ring", "master.key"):
                shutil.copy(made[0].data / key, service.data / key)
        else:
            service.run("account", "add", "shop", "--approve")
            service.domain("example.com")
        service.start()
        made.append(service)
    one, two = made
    login = one.login("trackclicks=true", "images=hosted")
    store = JournalStore(journal)
    yield Hosts(one, two, login, store)
    store.close()
    one.stop()
    two.stop()


@dataclass(frozen=True)
class Answer:
    """What a tracking host said."""

    status: int
    fields: dict[str, str]
    content: bytes


def ask(service: Any, url: str) -> Answer:
    path = re.sub(r"^https?://[^/]+", "", url)
    with closing(http.client.HTTPConnection("127.0.0.1", service.web, timeout=30)) as connection:
        connection.request("GET", path, headers=AGENT)
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, fields, answer.read())


def urls(mail: Any) -> tuple[str, str]:
    """The link and the picture of a mail."""
    text = quopri.decodestring(mail.body).decode()
    (link,) = re.findall(r'<a href="([^"]+)"', text)
    (picture,) = re.findall(r'<img src="([^"]+)"', text)
    return html.unescape(link), html.unescape(picture)


def test_each_host_answers_for_the_other(hosts: Hosts, wait: Callable[..., Any]) -> None:
    for sender, other in ((hosts.one, hosts.two), (hosts.two, hosts.one)):
        octets = PNG + sender.folder.name.encode()
        mail = sender.through(hosts.login, message(octets))
        assert hosts.one.signed(mail)
        link, picture = urls(mail)
        for service in (sender, other):
            answer = ask(service, link)
            assert (answer.status, answer.fields["location"]) == (302, LINK)
        shown = wait(partial(ask_until_shown, other, picture), "the picture")
        assert shown.content == octets
        assert not list(other.data.glob(f"images/*/{picture.rpartition('/')[2]}"))
    wait(lambda: hosts.journal.counts() == {"messages": 2, "copies": 0, "visits": 4}, "the journal")


def test_a_database_that_is_away_hides_no_picture_for_good(hosts: Hosts, postgresql, wait: Callable[..., Any]) -> None:
    _, known = urls(hosts.one.through(hosts.login, message(PNG)))
    wait(partial(ask_until_shown, hosts.two, known), "the first picture")
    postgresql.stop()
    _, late = urls(hosts.one.through(hosts.login, message(PNG + b"late")))
    assert ask(hosts.one, late).content == PNG + b"late"
    assert ask(hosts.two, known).content == PNG
    for _ in range(3):
        away = ask(hosts.two, late)
        assert (away.status, away.fields["cache-control"], away.fields["retry-after"]) == (503, "no-store", "10")
    postgresql.start()
    assert wait(partial(ask_until_shown, hosts.two, late), "the late picture").content == PNG + b"late"


def ask_until_shown(service: Any, url: str) -> Answer | None:
    answer = ask(service, url)
    assert answer.status in (200, 404, 503)
    return answer if answer.status == 200 else None
