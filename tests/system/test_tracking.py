"""One mail to three people with all features on: where each link leads, who is said to have followed it, what stays as it was."""

import base64
import html
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dkim
import pytest

pytestmark = pytest.mark.system

HOST = "links.tracked.example.com"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0"
SCANNER = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36 (GoogleImageProxy)"
THREE = ("Anna.Long@example.net", "ben@example.net", "cleo@example.org")
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGOoBwAAgQCA05RTSgAAAABJRU5ErkJggg==")
SHOWN = "http://www.example.com/shown"

FIELDS = b"""\
From: "News, daily" <news@tracked.example.com>\r
To: Anna <Anna.Long@example.net>,\r
\t=?utf-8?q?B=C3=A9n?= <ben@example.net>\r
Subject:  a  subject\r
 in three \r
\t lines =?utf-8?b?w7w=?=\r
X-Thing: one\r
X-Thing: two   \r
Message-ID: <tracked@tracked.example.com>\r
Date: Mon, 2 Feb 2026 10:00:00 +0000\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="mixed"\r
"""
TEXT = b"""\
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: 8bit\r
\r
Gr\xc3\xbc\xc3\x9fe from http://www.example.com/a?b=1  \r
-- \r
. a dot\r
"""
ATTACHMENT = b"""\
Content-Type: text/html; charset=utf-8; name="page.html"\r
Content-Disposition: attachment; filename="page.html"\r
\r
<style>a{color:red}</style><a href="http://www.example.com/attached">attached</a> <img src="cid:logo@example.com">\r
"""


@dataclass(frozen=True)
class Mail:
    """A mail as it was sent, and its copies by recipient."""

    rows: list[dict[str, str | None]]
    queue_id: str
    copies: dict[str, Any]
    sent: float

    def html(self, recipient: str) -> str:
        (content,) = re.findall(
            rb"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n([^-]*)--",
            self.copies[recipient].body,
        )
        return base64.b64decode(content).decode()

    def links(self, recipient: str) -> list[str]:
        """For each row of the table the address behind its element, or "" where it was left as it is."""
        found = []
        for number, row in enumerate(self.rows):
            _, _, rest = self.html(recipient).partition(f'<p id="r{number}">')
            element = rest.partition("</p>")[0]
            urls = re.findall(f"""["'](http://{re.escape(HOST)}/[^"']*)["']""", element)
            assert len(urls) == (row["destination"] is not None), (row, element)
            assert urls or element == f"{row['html']}x</a>"
            found.append(html.unescape(urls[0]) if urls else "")
        return found

    def pictures(self, recipient: str) -> list[str]:
        """The pictures' addresses in order: two of the web, the hosted one twice, the added one."""
        return [html.unescape(url) for url in re.findall(r'<(?:img|td)[^>]* (?:src|background)="([^"]*)"', self.html(recipient))]


def message(rows: list[dict[str, str | None]]) -> bytes:
    listed = "".join(f'<p id="r{number}">{row["html"]}x</a></p>\n' for number, row in enumerate(rows))
    text = (
        "<style>td{padding:1px} a:hover{color:red}</style>\n"
        f'<p><a href="{SHOWN}">www.example.com/shown</a> <img src="http://images.example.org/a.png?b=1&amp;c=2"></p>\n'
        '<table><tr><td background="https://images.example.org/b.png"><img src="cid:logo@example.com"></td>'
        f'<td background="cid:logo@example.com"></td></tr></table>\n{listed}'
    )
    shown = base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")
    return (
        FIELDS + b"X-SMTPeter-Tags: spring, three\r\nX-SMTPeter-TrackOpens: true\r\nBcc: cleo@example.org\r\n\r\n"
        b'--mixed\r\nContent-Type: multipart/related; boundary="related"\r\n\r\n'
        b'--related\r\nContent-Type: multipart/alternative; boundary="alternative"\r\n\r\n'
        b"--alternative\r\n" + TEXT + b"\r\n--alternative\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + shown + b"--alternative--\r\n"
        b"--related\r\nContent-Type: image/png\r\nContent-ID: <logo@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(PNG).replace(b"\n", b"\r\n") + b"--related--\r\n"
        b"--mixed\r\n" + ATTACHMENT + b"--mixed--\r\n"
    )  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What curl saw."""

    status: int
    location: str


class Curl:
    """Fetches what the mail's links lead to, from the service, by whatever name."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port, self._folder = port, folder

    def __call__(self, urls: list[str], *options: str, agent: str = PERSON) -> list[Seen]:
        config = "".join(f'url = "{url}"\noutput = /dev/null\n' for url in urls)
        words = ("--silent", "--globoff", "--connect-to", f"::127.0.0.1:{self._port}", "--user-agent", agent, "--config", "-")
        form = ("--write-out", "%{http_code} %header{location}\\n")
        done = subprocess.run(
            ("curl", *words, *form, *options), input=config, capture_output=True, text=True, check=True, encoding="utf-8"
        )
        answers = [line.partition(" ") for line in done.stdout.splitlines()]
        assert len(answers) == len(urls)
        return [Seen(int(status), location) for status, _, location in answers]

    def one(self, url: str, *options: str, agent: str = PERSON) -> Seen:
        (seen,) = self([url], *options, agent=agent)
        return seen

    def octets(self, url: str) -> tuple[str, bytes]:
        """Content type and content."""
        file = self._folder / "content"
        words = ("--silent", "--connect-to", f"::127.0.0.1:{self._port}", "--user-agent", PERSON, "--output", str(file))
        done = subprocess.run(("curl", *words, "--write-out", "%{content_type}", url), capture_output=True, text=True, check=True)
        return done.stdout, file.read_bytes()


@pytest.fixture(scope="module")
def curl(service, tmp_path_factory: pytest.TempPathFactory) -> Curl:
    return Curl(service.web, tmp_path_factory.mktemp("curl"))


@pytest.fixture(scope="module")
def tracked(service):
    """A login with all features on but one, which the mail's own field asks for; its links begin with http."""
    service.domain("tracked.example.com", "--clicks", HOST, "--no-https")
    return service.login("inlinecss=true", "trackclicks=true", "preventscam=true", "images=hosted")


@pytest.fixture(scope="module")
def mail(service, tracked, awkward_urls) -> Mail:
    rows = [*awkward_urls, awkward_urls[0], awkward_urls[0]]  # one address three times
    sent = time.time()
    queue_id = service.send(tracked, message(rows), THREE, mail_from="news@tracked.example.com")
    copies = service.copies(queue_id, 3)
    return Mail(rows, queue_id, {copy.recipient: copy for copy in copies}, sent)


@pytest.fixture(scope="module")
def exported(service, wait) -> Callable[..., list[dict[str, Any]]]:
    """The journal's rows of one kind about some recipients, once there are so many."""

    def export(kind: str, recipients: tuple[str, ...], count: int, *options: str) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]]:
            days = {datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in (time.time() - 600, time.time())}
            texts = [
                service.run("journal", "export", "--type", kind, "--date", day, "--format", "json", *options) for day in days
            ]
            rows = [row for text in texts for row in json.loads(text) if row["recipient"] in recipients]
            return rows if len(rows) >= count else []

        return wait(look, f"{count} {kind} in the journal")

    return export


@pytest.fixture(scope="module")
def visited(mail: Mail, curl: Curl) -> dict[str, dict[str, list[Seen]]]:
    """What each recipient saw who followed every link and loaded every picture once."""
    return {
        recipient: {"clicks": curl([url for url in mail.links(recipient) if url]), "opens": curl(mail.pictures(recipient))}
        for recipient in THREE
    }


def test_three_people_get_three_sets_of_identifiers(mail: Mail) -> None:
    assert sorted(mail.copies) == sorted(THREE)
    addresses = [{*filter(None, mail.links(recipient)), *mail.pictures(recipient)} for recipient in THREE]
    expected = sum(row["destination"] is not None for row in mail.rows) + 5
    # The hosted picture is in the mail twice: two numbers.
    assert [len(mine) for mine in addresses] == [expected] * 3
    assert len(set.union(*addresses)) == 3 * expected
    assert all(url.startswith(f"http://{HOST}/") for mine in addresses for url in mine)
    for recipient in THREE:
        assert f'<a href="{SHOWN}">www.example.com/shown</a>' in mail.html(recipient)
        assert b"cid:logo@example.com" not in mail.copies[recipient].body.replace(ATTACHMENT, b"")


def test_every_link_lands_on_exactly_the_original(mail: Mail, visited) -> None:
    destinations = [row["destination"] for row in mail.rows if row["destination"] is not None]
    assert len(destinations) >= 80
    for recipient in THREE:
        assert visited[recipient]["clicks"] == [Seen(302, destination) for destination in destinations]


def test_pictures_are_redirected_or_shown(mail: Mail, visited, curl: Curl) -> None:
    web = [Seen(302, "http://images.example.org/a.png?b=1&c=2"), Seen(302, "https://images.example.org/b.png")]
    for recipient in THREE:
        assert visited[recipient]["opens"] == [*web, Seen(200, ""), Seen(200, ""), Seen(200, "")]
    hosted, again, pixel = mail.pictures(THREE[0])[2:]
    # Not counted: each kind of visit was counted above.
    bare = re.sub(r"-[A-Za-z0-9]+(?=\.png$)", "", hosted)
    assert bare != hosted
    assert re.sub(r"-[A-Za-z0-9]+(?=\.png$)", "", again) == bare
    assert curl.octets(bare) == ("image/png", PNG)
    assert curl.one(pixel, "--head") == Seen(200, "")


def test_the_journal_names_the_right_person_for_each_visit(mail: Mail, visited, exported) -> None:
    destinations = Counter(row["destination"] for row in mail.rows if row["destination"] is not None)
    clicks = exported("clicks", THREE, 3 * destinations.total())
    opens = exported("opens", THREE, 3 * 5)
    assert len(clicks) == 3 * destinations.total()
    assert len(opens) == 3 * 5
    for recipient in THREE:
        mine = [row for row in clicks if row["recipient"] == recipient]
        assert Counter(row["destination"] for row in mine) == destinations
        # A fragment stays in the browser: it is not in what was asked for.
        asked = Counter(url.partition("#")[0] for url in mail.links(recipient) if url)
        assert Counter(row["url"] for row in mine) == asked
        assert {row["tags"] for row in mine} == {"spring;three"}
        assert len({row["id"] for row in mine} | {row["id"] for row in opens if row["recipient"] == recipient}) == 1
    assert len({row["id"] for row in clicks}) == 3


def test_text_attachment_and_header_are_the_bytes_that_were_sent(mail: Mail) -> None:
    for copy in mail.copies.values():
        assert copy.header.endswith(FIELDS)
        assert copy.body.count(b"--alternative\r\n" + TEXT + b"\r\n--alternative\r\n") == 1
        assert copy.body.count(b"--mixed\r\n" + ATTACHMENT + b"--mixed--\r\n") == 1
        assert b"x-smtpeter" not in copy.raw.lower()


def test_every_copy_is_signed(service, mail: Mail) -> None:
    records = {f"{name}.".encode(): value.encode() for name, value in service.records.items()}
    for copy in mail.copies.values():
        assert b"d=tracked.example.com;" in copy.header
        assert dkim.verify(copy.raw, dnsfunc=lambda record, timeout=5: records.get(record))


def test_the_blind_recipient_is_named_nowhere(mail: Mail) -> None:
    for copy in mail.copies.values():
        trace_fields = copy.header.removesuffix(FIELDS)
        # As a field and as an address: queue ids and identifiers have any three or four letters now and then.
        assert not re.search(rb"(?im)^(?:resent-)?bcc[ \t]*:", copy.header)
        if copy.recipient != "cleo@example.org":
            assert not re.search(rb"cleo(?:@|=40|%40)", copy.raw, re.IGNORECASE)
        assert not any(other.encode().lower() in trace_fields.lower() for other in THREE if other != copy.recipient)


def one(service, login, to: str, body: str, *fields: str) -> str:
    """Sends HTML to one person and returns what arrived of it."""
    head = "".join(f"{field}\r\n" for field in fields)
    raw = f"From: news@tracked.example.com\r\nTo: {to}\r\n{head}Content-Type: text/html; charset=utf-8\r\n\r\n{body}\r\n"
    queue_id = service.send(login, raw.encode(), (to,), mail_from="news@tracked.example.com")
    left = service.captured(queue_id)
    return left.body.replace(b"=\r\n", b"").replace(b"=3D", b"=").decode()


def href(text: str) -> str:
    return html.unescape(re.search(r'<a[^>]* href="([^"]*)"', text)[1])


def test_only_what_was_asked_for_and_by_whom_is_recorded(service, tracked, curl: Curl, exported) -> None:
    to = "visits@example.net"
    link = href(one(service, tracked, to, '<a href="http://www.example.com/head?a=1">x</a>'))
    assert curl.one(link, "--head") == Seen(302, "http://www.example.com/head?a=1")
    assert curl.one(link, "--request", "POST").status == 405
    start, end = link.rindex("-") + 1, link.rindex("?")
    forged = [link[:place] + ("A" if link[place] != "A" else "B") + link[place + 1 :] for place in range(start, end)]
    forged += [link[:place] + link[end:] for place in range(start, end)]
    forged += [link + "1", link.replace("head", "hea"), link.partition("?")[0]]
    assert {seen.status for seen in curl(forged)} == {404}
    assert curl.one(link, agent=SCANNER).status == 302
    assert curl.one(link).status == 302
    rows = exported("clicks", (to,), 2)
    assert len(rows) == 2
    (person,) = exported("clicks", (to,), 1, "--people")
    assert f"User-Agent: {PERSON}".lower() in person["headers"].lower()
    visits = [visit["machine"] for life in json.loads(service.run("trace", to, "--json"))["messages"] for visit in life["visits"]]
    assert sorted(visits) == [False, True]
    assert "a machine" in service.run("trace", to)


def test_a_disabled_link_is_gone_within_a_second(service, tracked, curl: Curl) -> None:
    text = one(service, tracked, "off@example.net", '<a href="http://www.example.com/off?a=1">x</a>')
    link = href(text)
    assert curl.one(link).status == 302
    service.run("link", "disable", "http://www.example.com/off?a=1")
    limit = time.monotonic() + 1.0
    while (status := curl.one(link).status) != 410:
        assert time.monotonic() < limit, status
    other = href(one(service, tracked, "off@example.net", '<a href="http://www.example.com/off?a=2">x</a>'))
    assert curl.one(other).status == 302


def test_the_trace_tells_what_became_of_each_feature_and_who_decided(service, tracked, mail: Mail, visited, wait) -> None:
    def look() -> list[dict[str, Any]]:
        done = subprocess.run(service.command("trace", mail.queue_id, "--json"), capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)["messages"] if done.returncode == 0 else []
        return found if len(found) == 3 and all(life["copies"] and life["deliveries"] for life in found) else []

    lives = wait(look, "three messages in the journal")
    assert sorted(life["recipient"] for life in lives) == sorted(THREE)
    for life in lives:
        decisions = [*life["decisions"], *life["copies"][0]["decisions"]]
        decided = {decision["feature"]: (decision["outcome"], decision["by"]) for decision in decisions}
        assert decided == {
            "images": ("applied", "login"),
            "inlinecss": ("applied", "login"),
            "trackopens": ("applied", "header"),
            "trackclicks": ("applied", "login"),
            "preventscam": ("applied", "login"),
            "trackbounces": ("off", "login"),
        }
        assert [delivery["status"] for delivery in life["deliveries"]] == ["sent"]
        assert life["tags"] == ["spring", "three"]
    shown = service.run("trace", "<tracked@tracked.example.com>")
    assert "trackopens applied (header)" in shown


def test_what_could_not_be_done_is_said_with_the_reason(service, tracked, wait) -> None:
    to = "skipped@example.net"
    one(service, tracked, to, "<p>nothing to do</p>", "X-SMTPeter-InlineCSS: false", "X-SMTPeter-TrackOpens: perhaps")

    def look() -> list[dict[str, Any]]:
        done = subprocess.run(service.command("trace", to, "--json"), capture_output=True, text=True, check=False)
        return json.loads(done.stdout)["messages"] if done.returncode == 0 else []

    (life,) = wait(look, "the message in the journal")
    decided = {decision["feature"]: decision for decision in life["decisions"]}
    assert (decided["inlinecss"]["outcome"], decided["inlinecss"]["by"]) == ("off", "header")
    assert (decided["trackopens"]["outcome"], decided["trackopens"]["by"]) == ("off", "login")
    for feature in ("images", "trackclicks", "preventscam"):
        assert (decided[feature]["outcome"], decided[feature]["by"]) == ("skipped", "rule"), decided
        assert decided[feature]["reason"]
