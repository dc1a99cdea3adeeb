"""The tracking host, asked by raw sockets: where it sends visitors, what it shows, what it notes, what it refuses."""

import asyncio
import http.client
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from journal.images import ImageStore
from journal.links import hosted, hosted_tracked, pixel, tracked
from journal.records import VisitKind
from journal.seal import Ring, SealingKey, octets, written
from web import answers
from web.addresses import Addresses
from web.disabled import DisabledLinks
from web.server import Limits
from web.tracking import Tracking

RECIPIENT = bytes(range(1, 10))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200_000)
NAME = "abcdefghijklmnopqrstuvwxyz234567.png"
BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

DESTINATIONS = (
    "http://example.com",
    "https://example.com/",
    "https://www.example.com/shop/item?id=1&x=a%26b+c#part",
    "https://example.com:8443/a/?",
    "http://example.com/a//b/../c%2Fd",
    "http://example.com/%e2%82%ac?q=%zz",
    "https://xn--bcher-kva.example/?a=b?c=d",
    "http://[2001:db8::1]/x",
    'https://example.com/?q=[]{}|^`"<>\\',
    "https://example.com/" + "long/" * 900,
    "HTTP://EXAMPLE.COM/Path-With-Dashes",
)


def target(url: str) -> str:
    """The path and query of a URL on the click host."""
    return url.removeprefix("https://c.test").partition("#")[0]


@pytest.mark.parametrize("url", DESTINATIONS, ids=lambda url: url[:40])
def test_a_link_leads_to_exactly_the_original(host, url: str) -> None:
    reply = host.ask(target(tracked(host.ring, RECIPIENT, 3, url, "https://c.test")), BROWSER)
    assert (reply.status, reply.fields["location"], reply.content) == (302, url, b"")
    assert reply.fields["cache-control"] == "no-store"
    assert reply.fields["x-content-type-options"] == "nosniff"
    assert "referrer-policy" not in reply.fields
    assert "server" not in reply.fields
    (visit,) = host.records(1)
    assert (visit.kind, visit.message, visit.number, visit.destination) == (VisitKind.CLICK, RECIPIENT.hex(), 3, url)


def test_a_visit_is_written_down_as_it_was(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 200, "https://example.com/a?b=c", "https://c.test"))
    before = int(time.time())
    host.ask(path, BROWSER, "Accept-Language: de", "Cookie: secret=1", "Authorization: Basic x", "X-Forwarded-For: 192.0.2.9")
    (visit,) = host.records(1)
    assert before <= visit.time <= time.time()
    assert (visit.url, visit.protocol, visit.ip) == (f"http://clicks.example.com{path}", "http", "127.0.0.0")
    assert visit.headers == f"Host: clicks.example.com\n{BROWSER}\nAccept-Language: de\nConnection: close"
    assert (visit.number, visit.machine) == (200, False)


def test_an_image_link_leads_to_the_picture_and_is_an_opening(host) -> None:
    url = "https://example.com/picture.png"
    reply = host.ask(target(tracked(host.ring, RECIPIENT, 4, url, "https://c.test", image=True)), BROWSER)
    assert (reply.status, reply.fields["location"]) == (302, url)
    (visit,) = host.records(1)
    assert (visit.kind, visit.number, visit.destination) == (VisitKind.OPEN, 4, url)


def test_head_is_answered_alike_and_not_noted(host) -> None:
    _keep(host, NAME, PNG)
    click = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    for path in (click, target(pixel(host.ring, RECIPIENT, "https://c.test")), f"/i/{NAME}", "/robots.txt", "/nothing"):
        head, get = host.ask(path, method="HEAD"), host.ask(path)
        head.fields.pop("date")
        get.fields.pop("date")
        assert (head.status, head.fields, head.content) == (get.status, get.fields, b"")
    assert {record.kind for record in host.records(2)} == {VisitKind.CLICK, VisitKind.OPEN}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_refused_and_not_noted(host, method: str) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    # RFC 8058: what a mail program posts to unsubscribe belongs to the original address.
    reply = host.ask(path, "Content-Length: 0", method=method)
    assert (reply.status, reply.fields["allow"]) == (405, "GET, HEAD")
    assert "location" not in reply.fields
    host.records(0)


def test_a_machine_is_marked_and_never_dropped(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    assert all(host.ask(path, line).status == 302 for line in (BROWSER, "User-Agent: curl/8.0", "Accept: */*"))
    assert [host.ask(path, BROWSER, line).status for line in ("Sec-Purpose: prefetch;prerender", "X-Moz: prefetch")] == [302, 302]
    assert [visit.machine for visit in host.records(5)] == [False, True, True, True, True]


# -- identifiers -----------------------------------------------------------------------------------------------------------


def test_no_bit_of_an_identifier_can_be_changed_and_none_left_out(host) -> None:
    url = tracked(host.ring, RECIPIENT, 3, "https://example.com/a/b?c=d", "https://c.test")
    shown, _, rest = target(url).rpartition("-")
    identifier, mark, query = rest.partition("?")
    sealed = octets(identifier.encode())
    flipped = [
        bytes(sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]) for at in range(len(sealed)) for bit in range(8)
    ]
    changed = [written(each) for each in flipped] + [identifier[:length] for length in range(len(identifier))]
    changed += [identifier + "A", "A" + identifier, identifier.swapcase(), identifier + "=", "", written(sealed + b"\0")]
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    for text in changed:
        connection.request("GET", f"{shown}-{text}{mark}{query}")
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.getheader("Location")) == (404, None), text
    connection.request("GET", target(url))
    assert connection.getresponse().status == 302
    connection.close()
    host.records(1)


def test_path_and_query_belong_to_their_identifier(host) -> None:
    urls = ("https://example.com/a", "https://example.com/b?x=1", "https://example.com/a?x=1", "https://example.com/", "ftp://x")
    pieces = []
    for number, url in enumerate(urls):
        shown, _, rest = target(tracked(host.ring, RECIPIENT, number, url, "https://c.test")).rpartition("-")
        identifier, _, query = rest.partition("?")
        pieces.append((shown, identifier, query))
    for path, identifier, query in sorted({(a[0], b[1], c[2]) for a in pieces for b in pieces for c in pieces}):
        reply = host.ask(f"{path}-{identifier}?{query}" if query else f"{path}-{identifier}")
        exact = (path, identifier, query) in pieces
        # What is sealed is no address of the web: somebody with the key made a mistake, and nobody is sent there.
        assert reply.status == (302 if exact and identifier != pieces[-1][1] else 404)
        assert ("location" in reply.fields) == (reply.status == 302)
    host.records(len(urls) - 1)


def test_identifiers_of_one_kind_are_none_of_another(host) -> None:
    of_pixel = pixel(host.ring, RECIPIENT, "").removeprefix("/o/").removesuffix(".gif")
    of_link = tracked(host.ring, RECIPIENT, 1, "http://example.com/", "").removeprefix("/-")
    of_image = hosted_tracked(host.ring, RECIPIENT, 1, NAME, "").partition("-")[2].removesuffix(".png")
    assert [host.ask(f"/-{text}").status for text in (of_pixel, of_image, of_link)] == [404, 404, 302]
    assert [host.ask(f"/o/{text}.gif").status for text in (of_link, of_image)] == [200, 200]
    host.records(1)


def test_another_ring_reads_nothing(host) -> None:
    stranger = Ring([SealingKey(id=7, secret=os.urandom(64), created=1, active=1)], now=2)
    assert host.ask(target(tracked(stranger, RECIPIENT, 3, "https://example.com/x", "https://c.test"))).status == 404
    host.records(0)


# -- pictures --------------------------------------------------------------------------------------------------------------


def test_the_pixel_is_shown_to_everybody_and_noted_where_it_is_ours(host) -> None:
    mine = pixel(host.ring, RECIPIENT, "")
    ours, forged = host.ask(mine, BROWSER), host.ask("/o/AAAABBBBCCCC.gif", BROWSER)
    for reply in (ours, forged):
        assert (reply.status, reply.fields["content-type"], reply.fields["cache-control"]) == (200, "image/gif", "no-store")
        assert reply.content.startswith(b"GIF89a\x01\0\x01\0")
    ours.fields.pop("date")
    forged.fields.pop("date")
    assert ours == forged
    host.ask(f"{mine}?cached=no", BROWSER)
    for visit in host.records(2):
        assert (visit.kind, visit.number, visit.message, visit.destination) == (VisitKind.OPEN, 0, RECIPIENT.hex(), "")


def test_a_hosted_image_is_shown_and_kept_by_browsers(host) -> None:
    _keep(host, NAME, PNG)
    reply = host.ask(hosted(NAME, ""), BROWSER)
    assert (reply.status, reply.content) == (200, PNG)
    assert reply.fields["content-type"] == "image/png"
    assert reply.fields["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.fields["content-security-policy"] == "sandbox; default-src 'none'"
    again = host.ask(hosted(NAME, ""), f"If-None-Match: {reply.fields['etag']}")
    assert (again.status, again.content, again.fields["etag"]) == (304, b"", reply.fields["etag"])
    assert host.ask(hosted(NAME, ""), 'If-None-Match: "other"').status == 200
    host.records(0)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "png"), ("jpg", "jpeg"), ("gif", "gif"), ("webp", "webp")])
def test_the_type_of_a_hosted_image_is_that_of_its_name(host, suffix: str, kind: str) -> None:
    name = NAME.replace("png", suffix)
    _keep(host, name, b"<svg onload=alert(1)>")
    reply = host.ask(hosted(name, ""))
    assert reply.fields["content-type"] == f"image/{kind}"
    assert reply.fields["x-content-type-options"] == "nosniff"


def test_a_hosted_image_for_one_recipient_is_seen_each_time(host) -> None:
    _keep(host, NAME, PNG)
    path = hosted_tracked(host.ring, RECIPIENT, 5, NAME, "")
    for _ in range(2):
        reply = host.ask(path, BROWSER, f'If-None-Match: "{NAME[:32]}"')
        assert (reply.status, reply.content, reply.fields["cache-control"]) == (200, PNG, "no-store")
        assert "etag" not in reply.fields
    forged = host.ask(path.replace("-", "-A"))
    assert (forged.status, forged.content, forged.fields["cache-control"]) == (200, PNG, "no-store")
    for visit in host.records(2):
        assert (visit.kind, visit.number, visit.destination) == (VisitKind.OPEN, 5, "")


def test_an_image_that_is_not_there_is_not_found(host) -> None:
    assert host.ask(hosted(NAME, "")).status == 404
    # The mail was opened all the same.
    assert host.ask(hosted_tracked(host.ring, RECIPIENT, 5, NAME, "")).status == 404
    host.records(1)


def test_an_image_that_cannot_be_read_asks_to_come_again(host) -> None:
    host.images.path(NAME).mkdir(parents=True)
    reply = host.ask(hosted(NAME, ""))
    assert (reply.status, reply.fields["retry-after"]) == (503, "10")


# -- disabled links --------------------------------------------------------------------------------------------------------


def test_nobody_is_sent_to_a_disabled_destination(host, until: Callable[..., None]) -> None:
    paths = [
        target(tracked(host.ring, RECIPIENT, 3, "https://example.com/bad", "https://c.test", image=image))
        for image in (False, True)
    ]
    assert [host.ask(path).status for path in paths] == [302, 302]
    host.blocked.append("https://example.com/bad")
    begun = time.monotonic()
    until(lambda: host.ask(paths[0], method="HEAD").status == 410)
    assert time.monotonic() - begun < 1
    for path in paths:
        reply = host.ask(path)
        assert (reply.status, reply.fields["content-type"]) == (410, "text/plain; charset=utf-8")
        assert reply.content == b"This link has been disabled.\n"
        assert "location" not in reply.fields
    assert host.ask(target(tracked(host.ring, RECIPIENT, 3, "https://example.com/bad?", "https://c.test"))).status == 302
    host.blocked.clear()
    until(lambda: host.ask(paths[0], method="HEAD").status == 302)
    host.records(3)


# -- addresses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "forwarded", "found"),
    [
        ((), "198.51.100.77", "127.0.0.1"),
        (("127.0.0.0/8",), "198.51.100.77", "198.51.100.77"),
        (("127.0.0.0/8",), "203.0.113.1, 198.51.100.77", "198.51.100.77"),
        (("127.0.0.0/8", "198.51.100.0/24"), "203.0.113.1, 198.51.100.77", "203.0.113.1"),
        (("192.0.2.0/24",), "198.51.100.77", "127.0.0.1"),
    ],
)
def test_who_is_forwarded_is_believed_of_proxies_only(run_host, proxies: Any, forwarded: str, found: str) -> None:
    host = run_host(proxies=proxies, shorten=False)
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    host.ask(path, f"X-Forwarded-For: {forwarded}", "X-Forwarded-Proto: https")
    (visit,) = host.records(1)
    protocol = "http" if found == "127.0.0.1" else "https"
    assert (visit.ip, visit.protocol, visit.url) == (found, protocol, f"{protocol}://clicks.example.com{path}")
    assert "Forwarded-For" not in visit.headers


def test_a_visitor_through_a_unix_socket_has_no_address(run_host, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "web"))
    listener.listen()
    host = run_host(listener=listener, proxies=("0.0.0.0/0", "::/0"))
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "web"))
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n".encode()
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 302 ")
    (visit,) = host.records(1)
    assert visit.ip == ""


# -- what is no honest request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/", "//", "/-", "/c?url=https://evil.example/", "/?u=https://evil.example", "//evil.example/-x", "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd", "/i/../keys.ring", "/i/%2e%2e/keys.ring", "/i/..%2fkeys.ring", f"/i/{NAME}/../x",
        f"/i/{NAME.replace('png', 'svg')}", f"/i/{NAME}%00.png", f"/i/{NAME.upper()}", "/%00", "/%0d%0aLocation:%20x", "/o/x.png",
        "/o/.gif", "/o/a-b.gif", "/robots.txt/", "/favicon.ico", "/-%0d%0a", "/\\evil.example", "/-" + "A" * 3000,
    ],
)  # fmt: skip
def test_what_is_not_ours_is_not_found(host, path: str) -> None:
    reply = host.ask(path)
    assert reply.status == 404
    assert "location" not in reply.fields
    assert reply.fields["x-content-type-options"] == "nosniff"
    host.records(0)


@pytest.mark.parametrize("target_", [b"/\0", b"/a\0b", b"/\x80\xff", b"*", b"evil.example:443", b"", b"/a b", b"\\x"])
def test_what_is_no_target_is_refused(host, target_: bytes) -> None:
    assert host.ask(target_).status in (400, 404, 405)
    host.records(0)


def test_a_whole_url_is_read_as_its_path(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    reply = host.ask(f"http://evil.example{path}")
    assert (reply.status, reply.fields["location"]) == (302, "https://example.com/x")
    assert host.ask("http://evil.example/").status == 404
    assert host.ask(f"{path}#fragment").status == 302
    assert [visit.url for visit in host.records(2)] == [f"http://clicks.example.com{path}"] * 2


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("Host: CLICKS.Example.com:8080", "CLICKS.Example.com:8080"),
        ("Host: [2001:db8::1]:80", "[2001:db8::1]:80"),
        ("Host: under_score.example.com", "under_score.example.com"),
        ("Host: evil.example/path", ""),
        ("Host: a@b", ""),
        ("Host: <script>", ""),
        ("Host: x:99999999", ""),
        ("Host:", ""),
        ("Accept: x", ""),
    ],
)
def test_an_odd_host_is_not_written_down_and_changes_nothing(host, field: str, name: str) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    answer = host.raw(f"GET {path} HTTP/1.1\r\n{field}\r\nConnection: close\r\n\r\n".encode())
    assert b"\r\nlocation: https://example.com/x\r\n" in answer
    (visit,) = host.records(1)
    assert visit.url == f"http://{name}{path}"


def test_two_hosts_are_refused(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    assert host.ask(path, "Host: other.example.com").status == 400
    host.records(0)


def test_robots_are_told_to_stay_away(host) -> None:
    reply = host.ask("/robots.txt")
    assert (reply.status, reply.content) == (200, b"User-agent: *\nDisallow: /\n")


def test_what_is_too_large_is_refused(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    assert host.ask("/" + "a" * 8191).status == 414
    assert host.ask("/?" + "a" * 8191).status == 414
    assert host.ask("/" + "a" * 8000).status == 404
    assert host.raw(b"GET /" + b"a" * 300_000).startswith(b"HTTP/1.1 414 ")
    assert host.ask(path, *(f"X-{number}: {'a' * 1000}" for number in range(300))).status == 431
    assert host.ask(path, "X: " + "a" * 300_000).status == 431
    assert host.ask(path, "Cookie: " + "a" * 20_000).status == 302
    host.records(1)


def test_a_request_with_content_is_refused(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    smuggled = f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"
    head = f"GET {path} HTTP/1.1\r\nHost: a.test\r\n"
    for field, content in (
        (f"Content-Length: {len(smuggled)}", smuggled),
        ("Transfer-Encoding: chunked", f"{len(smuggled):x}\r\n{smuggled}\r\n0\r\n\r\n"),
        ("Content-Length: 1000000", "x" * 1_000_000),
    ):
        answer = host.raw(f"{head}{field}\r\n\r\n{content}".encode())
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.count(b"HTTP/1.1") == 1
    assert host.ask(path, "Content-Length: 0").status == 302
    host.records(1)


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: -1",
        "Content-Length: 1, 2",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "X y: z",
        "X: a\rb",
        "X: a\0b",
    ],
)
def test_a_request_of_two_minds_is_refused(host, fields: str) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    answer = host.raw(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n0\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    assert b"ocation:" not in answer
    host.records(0)


# -- connections -----------------------------------------------------------------------------------------------------------


def test_every_request_on_a_connection_is_answered_in_its_order(host) -> None:
    _keep(host, NAME, PNG)
    numbers = [1, 2, 0, 3, 4, 0, 5]  # 0 is a picture, which has to be waited for
    paths = [
        target(tracked(host.ring, RECIPIENT, number, f"https://example.com/{number}", "https://c.test"))
        if number
        else f"/i/{NAME}"
        for number in numbers
    ]
    octets_ = "".join(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n" for path in paths) * 20
    with host.connect() as connection:
        connection.sendall(octets_.encode())
        found = []
        file = connection.makefile("rb")
        for _ in paths * 20:
            assert file.readline().startswith(b"HTTP/1.1 ")
            fields = dict(line.rstrip(b"\r\n").split(b": ", 1) for line in iter(file.readline, b"\r\n"))
            found.append(int(fields.get(b"location", b"/0").rpartition(b"/")[2]))
            file.read(int(fields[b"content-length"]))
    assert found == numbers * 20
    host.records(5 * 20)


def test_one_connection_after_http_1_0_and_close(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    for request in (f"GET {path} HTTP/1.0\r\n\r\n", f"GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"):
        with host.connect() as connection:
            connection.sendall((request * 2).encode())
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))  # the server ends it
        assert answer.count(b"HTTP/1.1 302 ") == 1
        assert b"\r\nconnection: close\r\n" in answer
    host.records(2)


def test_an_offer_of_another_protocol_is_not_taken_up(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    offers = (
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    )
    for offer in offers:
        assert host.ask(path, *offer).status == 302
    assert host.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    host.records(2)


def test_a_request_that_arrives_in_pieces_is_answered(host) -> None:
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    with host.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in f"GET {path} HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\r\n".encode():
            connection.sendall(bytes((octet,)))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 302 ")
    host.records(1)


def test_slow_requests_and_idle_connections_are_ended(run_host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.connection.HEAD_SECONDS", 0.5)
    monkeypatch.setattr("web.server.SWEEP_SECONDS", 0.1)
    host = run_host(limits=Limits(idle=2))
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    begun = time.monotonic()
    silent, slow, idle = host.connect(), host.connect(), host.connect()
    with silent, slow, idle:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        idle.sendall(f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        assert idle.recv(65_536).startswith(b"HTTP/1.1 302 ")
        for connection in (silent, slow):
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
            assert connection.recv(65_536) == b""
        assert 0.4 < time.monotonic() - begun < 1.8
        assert idle.recv(65_536) == b""
        assert time.monotonic() - begun > 1.8


def test_an_answer_that_is_read_too_slowly_is_given_up(run_host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.connection.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("web.server.SWEEP_SECONDS", 0.1)
    host = run_host()
    _keep(host, NAME, bytes(50_000_000))
    with host.connect() as slow, suppress(ConnectionError):
        slow.sendall(f"GET /i/{NAME} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        received = 0
        while piece := slow.recv(65_536):
            received += len(piece)
            time.sleep(0.005)  # at this speed it takes four seconds
    assert 0 < received < 50_000_000


def test_a_crowd_is_answered_and_sent_home(run_host) -> None:
    host = run_host(limits=Limits(connections=3))
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    request = f"GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
    connections = [host.connect() for _ in range(4)]
    for connection in connections[:3]:
        connection.sendall(b"GET ")  # not whole
    try:
        connections[3].sendall(request)
        answer = connections[3].recv(65_536)
        assert answer.startswith(b"HTTP/1.1 302 ")
        assert b"\r\nconnection: close\r\n" in answer
        assert connections[3].recv(65_536) == b""
    finally:
        for connection in connections:
            connection.close()


def test_who_does_not_read_pictures_holds_up_nobody(host) -> None:
    _keep(host, NAME, bytes(5_000_000))
    path = target(tracked(host.ring, RECIPIENT, 3, "https://example.com/x", "https://c.test"))
    with host.connect() as lazy:
        lazy.sendall(f"GET /i/{NAME} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode() * 20)
        assert all(host.ask(path).status == 302 for _ in range(20))
    host.records(20)


def _keep(host: Any, name: str, content: bytes) -> None:
    """Puts a picture where the milter would."""
    host.images.keep(name, content)


# -- the application alone -------------------------------------------------------------------------------------------------


def test_trouble_is_told_as_such_and_is_in_the_log(ring: Ring, tmp_path: Path, caplog) -> None:
    def no_ring() -> Ring:
        raise OSError("the key ring is gone")

    noted: list[object] = []
    app = Tracking(
        ring=no_ring,
        record=noted.append,
        disabled=DisabledLinks(list, tmp_path / "disabled.json"),
        images=ImageStore(tmp_path),
        addresses=Addresses((), shorten=True),
    )
    scope = {
        "type": "http",
        "method": "GET",
        "raw_path": b"/-x",
        "query_string": b"",
        "headers": [],
        "client": None,
        "scheme": "http",
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, None, send))
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"10") in sent[0]["headers"]
    assert b"".join(message["body"] for message in sent[1:]) == answers.TROUBLE.content
    assert "the key ring is gone" in caplog.text
    assert not noted
