"""Mail before and after all features in a real browser: the same computed styles, the same picture, links that arrive."""

import hashlib
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, CDPSession, Page, Route, sync_playwright

from filters.job import Envelope, Job, Site, Tracking
from filters.mail import parts
from filters.mail.message import Message
from filters.pipeline import transform
from journal import links
from journal.event import Kind
from journal.seal import Ring, SealingKey
from policy.options import Images, Options
from smtpeter.sample import newsletter

pytestmark = pytest.mark.system

WIDTHS = (320, 640, 1024)
ADDRESS = "http://mail.test/"
BASE = "http://clicks.example.com"
NOW = 1_770_000_000
RING = Ring([SealingKey(id=1, secret=bytes(range(64)), created=0, active=0)], NOW)
TRACKING = Tracking(base=BASE, hosts=frozenset({"clicks.example.com"}))
SITE = Site(signers=lambda domain: (), tracking=lambda domain: TRACKING, ring=RING, now=NOW)
ALL = Options(inlinecss=True, trackclicks=True, trackopens=True, preventscam=True, images=Images.HOSTED)

# Every property of every element but the added image, in document order.
STYLES = """
() => {
  const names = [...getComputedStyle(document.body)];
  const elements = [...document.querySelectorAll('*')].filter(element => !(element.src || '').includes('/o/'));
  const style = element => { const found = getComputedStyle(element); return names.map(name => found.getPropertyValue(name)); };
  const height = document.documentElement.scrollHeight;
  return [height, names, elements.map(element => [element.tagName.toLowerCase(), style(element).join('\\u0000')])];
}
"""

FLUID = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml"><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<style type="text/css">
  body { margin: 0; padding: 0 }
  img { border: 1px solid #888888; padding: 3px; margin: 4px; display: block }
  .column { float: left; width: 300px; background-color: #eeeeee }
  .column + .column { background-color: #dddddd }
  a { color: #224488 } p > a { font-weight: bold; text-decoration: none }
  @media only screen and (max-width: 480px) {
    .column { width: 100% !important; float: none !important }
    img { width: 100% !important; height: auto !important; max-width: none !important }
    .wide { display: none !important }
  }
  @media (min-width: 481px) and (max-width: 800px) { p { font-size: 20px !important } }
</style></head>
<body background="http://images.example.org/paper.png?size=2">
<table background="cid:tile@example.com" width="100%" cellpadding="10"><tr>
  <td background='http://images.example.org/cell.png' class="wide">Only on wide screens</td>
  <td><div class="column"><img src="http://images.example.org/a b.png?x=1&amp;y=%20" alt="a" width="120" height="60" />
    <p>Read <a href="https://www.example.com/a?b=1&amp;c=2#top">all of it</a> or <a href="http://example.com">example.com</a>.</p></div>
    <div class="column"><img src="cid:logo@example.com" alt="logo" /><p>gr&uuml;&szlig;e &ndash; ✓</p></div></td>
</tr></table></body></html>
"""
OLD = """\
<HTML><HEAD><STYLE>TD { font-family: sans-serif; color: navy }
.big { font-size: 200%; line-height: 1.1 } LI { margin: 7px }</STYLE></HEAD>
<BODY BGCOLOR=#ffffee TEXT=#333333 LINK=#aa0000 BACKGROUND=http://images.example.org/old.gif>
<!--[if mso]><a href="http://example.org/outlook"><img src="http://images.example.org/outlook.png"></a><![endif]-->
<CENTER><TABLE BORDER=1 BACKGROUND=cid:tile@example.com><TR>
<TD class=big nowrap><FONT SIZE=2>Old <B>times<I> mixed</B> up</I></FONT>
<TD><A HREF=http://example.org/old?a=1&b=2><IMG SRC='http://images.example.org/old.png' BORDER=0></A>
<UL><LI>one<LI class=big>two</UL>
<MAP NAME=m><AREA SHAPE=rect COORDS=0,0,9,9 HREF=http://example.org/area></MAP><IMG USEMAP=#m SRC="cid:logo@example.com">
<tr><td colspan=2><p class="big">Paragraph<p>and another, <a href="http://example.org/">with a link</a></TABLE></CENTER>
"""
RIGHT_TO_LEFT = """\
<!DOCTYPE html><html dir="rtl"><head><style>
  html, body { height: 100%; margin: 0 } body { background: linear-gradient(#ffffff, #cceeff) }
  * { box-sizing: border-box } img { float: left !important; min-width: 40px }
  .grid { display: grid; grid-template-columns: 1fr 2fr; gap: 5px; direction: rtl } .grid > :nth-child(2n) { background: #ffe0e0 }
  @media (prefers-color-scheme: light) { .grid { border: 3px double #808080 !important } }
  @media (orientation: landscape) { h1 { letter-spacing: 3px !important } }
</style></head><body><h1>שלום</h1><div class="grid"><span>א</span><span style="color: #aa00aa; padding: 2px">ב</span>
<span>ג <a href="https://example.org/ל?q=ש">קישור</a></span><span><img src="http://images.example.org/r.png"></span></div></body></html>
"""
# What a program that fills in a template replaces in the text.
_TEXT_TOKEN = re.compile(r"\{\{\{?[^{}]*\}\}\}?")


def png(name: str) -> bytes:
    """A picture whose colour and size are made of a name."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    digest = hashlib.sha256(name.encode()).digest()
    width, height = 20 + digest[3] % 60, 10 + digest[4] % 40
    rows = (b"\0" + digest[:3] * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
EMBEDDED = {f"{name}@example.com": png(name) for name in ("tile", "logo")}


def mail(html: str) -> bytes:
    """A newsletter with text, HTML and the embedded images that the HTML names."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "News <news@example.com>"
    message["Date"] = datetime.fromtimestamp(NOW, UTC)
    message.set_content("Text\n")
    message.add_alternative(html, subtype="html", cte="base64")
    shown = message.get_payload()[1]
    for identifier, octets in EMBEDDED.items():
        if f"cid:{identifier}" in html:
            shown.add_related(octets, "image", "png", cid=f"<{identifier}>")
    return message.as_bytes()


def html_of(message: Message) -> str:
    (part,) = (leaf for leaf in parts.scan(message).leaves if leaf.content_type == "text/html")
    return parts.content(message, part).decode()


@dataclass
class Pair:
    """One mail as it came and as it left, its HTML as a mail program shows it."""

    name: str
    before: str
    after: str
    hosted: dict[str, bytes]

    @classmethod
    def of(cls, name: str, raw: bytes) -> "Pair":
        job = Job(
            login="0" * 32,
            account="shop",
            envelope=Envelope(mail_from="news@example.com", rcpt_to=("reader@example.net",)),
            options=ALL,
            message=Message.parse(raw),
            seed=hashlib.sha256(name.encode()).digest()[:16],
        )
        done = transform(job, SITE).job
        assert not any(event.kind is Kind.FALLBACK for event in done.events), (name, done.events)
        applied = {event.subject for event in done.events if event.kind is Kind.APPLIED}
        assert applied >= {"inlinecss", "trackopens", "trackclicks"}, (name, done.events)
        before = html_of(job.message).replace("cid:", "http://embedded.test/")
        return cls(name, before, html_of(done.message), {image.name: image.content for image in done.images})


@dataclass
class Screen:
    """A tab that shows mail. All that a mail asks for is answered here; nothing leaves."""

    page: Page
    session: CDPSession
    pair: Pair | None = None
    html: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, route: Route) -> None:
        url = route.request.url
        if url == ADDRESS:
            route.fulfill(body=self.html, content_type="text/html; charset=utf-8")
        elif route.request.resource_type == "image":
            self.asked.append(url)
            octets = self.picture(url)
            route.fulfill(body=octets, content_type="image/png" if octets[:1] == b"\x89" else "image/gif")
        else:
            route.abort()

    def picture(self, url: str) -> bytes:
        """The picture behind a URL, tracked or not."""
        assert self.pair is not None
        split = urlsplit(url)
        path, query = split.path.encode(), split.query.encode()
        if not url.startswith(BASE):
            return EMBEDDED[split.path[1:]] if split.netloc == "embedded.test" else png(url)
        if links.read_pixel(RING, path) is not None:
            return PIXEL
        if (hosted := links.read_hosted(RING, path)) is not None:
            assert hosted.visit is not None
            return self.pair.hosted[hosted.name]
        visit = links.read(RING, path, query)
        assert visit is not None, url
        assert visit.image
        return png(visit.destination)

    def show(self, pair: Pair, html: str) -> list[tuple[Any, str]]:
        """Computed styles and picture at each width."""
        self.pair, self.html, self.asked = pair, html, []
        self.page.goto(ADDRESS)
        seen = []
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 600})
            height, names, elements = self.page.evaluate(STYLES)
            styles = [(tag, dict(zip(names, values.split("\0"), strict=True))) for tag, values in elements]
            seen.append((styles, self.photograph(width, height)))
        return seen

    def photograph(self, width: int, height: int) -> str:
        """The whole page as a picture, faster than the library takes it."""
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        options = {"captureBeyondViewport": True, "optimizeForSpeed": True, "clip": area}
        return f"{height} {self.session.send('Page.captureScreenshot', options)['data']}"

    def plain(self, value: str) -> str:
        """A computed value in which a URL is the picture behind it."""
        if "url(" not in value:
            return value
        return re.sub(r'url\("(http[^"]*)"\)', lambda found: hashlib.sha256(self.picture(found[1])).hexdigest(), value)

    def differences(self, pair: Pair) -> list[str]:
        """What the browser shows otherwise after than before, and that it asked for just one picture more."""
        before = self.show(pair, pair.before)
        asked = set(self.asked)
        after = self.show(pair, pair.after)
        pixels = [url for url in self.asked if links.is_pixel(urlsplit(url).path.encode())]
        found = [] if len(pixels) == 1 else [f"{pair.name}: the added image is fetched {len(pixels)} times"]
        if len(set(self.asked)) != len(asked) + 1 or not all(url.startswith(BASE) for url in self.asked):
            found.append(f"{pair.name}: pictures are fetched from {self.asked} instead of {asked}")
        for width, (old, old_picture), (new, new_picture) in zip(WIDTHS, before, after, strict=True):
            if [tag for tag, _ in old] != [tag for tag, _ in new]:
                found.append(f"{pair.name} at {width}: other elements")
            for (tag, was), (_, now) in zip(old, new, strict=False):
                for name, value in was.items():
                    if now[name] != value and self.plain(now[name]) != self.plain(value):
                        found.append(f"{pair.name} at {width}: {name} of {tag} is {now[name]} instead of {value}")
            if old_picture != new_picture:
                found.append(f"{pair.name} at {width}: another picture")
        return found


@pytest.fixture(scope="module")
def browse() -> Iterator[Callable[..., Browser]]:
    """Starts Debian's Chromium with more arguments."""
    with sync_playwright() as playwright:

        def launch(*arguments: str) -> Browser:
            return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", *arguments])

        yield launch


@pytest.fixture(scope="module")
def screen(browse: Callable[..., Browser]) -> Iterator[Screen]:
    browser = browse()
    page = browser.new_page()
    screen = Screen(page, page.context.new_cdp_session(page))
    screen.page.route("**/*", screen.answer)
    yield screen
    browser.close()


def templates(corpus: Path | None) -> Iterator[tuple[str, str]]:
    """The templates of the corpus, each kind once, filled in."""
    seen: set[str] = set()
    for path in sorted(corpus.glob("html/*.html")) if corpus else ():
        text = path.read_text()
        if text not in seen:
            seen.add(text)
            linked = re.sub(r'((?:href|src)=)"\{\{[^"]*\}\}"', rf'\1"https://shop.example.com/{len(seen)}?a=1&amp;b=2"', text)
            yield path.name, _TEXT_TOKEN.sub("word", linked)


def test_styles_and_pictures_of_the_templates_stay(screen: Screen, corpus: Path | None) -> None:
    pairs = [Pair.of("sample", newsletter(datetime.fromtimestamp(NOW, UTC), "<a@example.com>"))]
    pairs += [Pair.of(name, mail(html)) for name, html in templates(corpus)]
    assert corpus is None or len(pairs) > 20
    assert [line for pair in pairs for line in screen.differences(pair)] == []


@pytest.mark.parametrize("html", [FLUID, OLD, RIGHT_TO_LEFT], ids=["fluid", "old", "right to left"])
def test_styles_and_pictures_of_awkward_pages_stay(screen: Screen, html: str) -> None:
    assert screen.differences(Pair.of(html[:60], mail(html))) == []


def test_a_difference_would_be_seen(screen: Screen) -> None:
    pair = Pair.of("seen", mail(FLUID))
    pair.after = pair.after.replace("color: #224488", "color: #224489").replace("</body>", "<i>.</i></body>")
    text = " ".join(screen.differences(pair))
    assert "color of a is rgb(34, 68, 137) instead of rgb(34, 68, 136)" in text
    assert "other elements" in text
    assert "another picture" in text


def test_a_browser_goes_where_the_table_says(screen: Screen, awkward_urls: list[dict[str, str | None]]) -> None:
    rows = [row for row in awkward_urls if row["destination"] is not None and re.match("<(a|area)[ \n/]", row["html"], re.I)]
    screen.html = "<!DOCTYPE html>" + "".join(f'<p id="r{number}">{row["html"]}x</a></p>' for number, row in enumerate(rows))
    screen.page.goto(ADDRESS)
    script = """
      urls => urls.map((url, number) => [document.querySelector(`#r${number} > :first-child`).href, new URL(url).href])
    """
    went = screen.page.evaluate(script, [row["destination"] for row in rows])
    assert len(went) >= 80
    assert [(row, pair) for row, pair in zip(rows, went, strict=True) if pair[0] != pair[1]] == []


class Web(ThreadingHTTPServer):
    """Every web site but the tracking host: what was asked for at it, and a page for each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Site)
        self.asked: list[str] = []
        self.mail = b""


class _Site(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        host = self.headers["Host"]
        content = self.server.mail if host == "mail.test" else b"<title>arrived</title>here"
        if self.path != "/favicon.ico":
            self.server.asked.append(f"http://{host}{self.path}")
        self.send_response(200)
        self.send_header("Content-Type", "image/png" if self.path.endswith(".png") else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_click_arrives_at_the_original(service, wait, browse: Callable[..., Browser], web: Web, awkward_urls) -> None:
    host, to = "links.clicked.example.com", "browser@example.net"
    service.domain("clicked.example.com", "--clicks", host, "--no-https")
    login = service.login("trackclicks=true", "trackopens=true", "inlinecss=true")
    plain = [row for row in awkward_urls if (row["destination"] or "").startswith("http://") and row["html"].startswith("<a ")]
    last = "http://www.example.com/a/b?c=d&e=%20f#part-2"
    rows = [*plain[::8], {"html": f'<a href="{last}">', "destination": last}]
    text = "".join(f'<p id="r{number}">{row["html"]}<span>here</span></a></p>' for number, row in enumerate(rows))
    raw = mail(f'<style>span{{color:green}}</style><img src="http://images.example.org/a.png">{text}')
    raw = raw.replace(b"news@example.com", b"news@clicked.example.com")
    left = service.through(login, raw, recipients=(to,), mail_from="news@clicked.example.com")
    web.mail = b"<!DOCTYPE html>" + html_of(Message.parse(left.raw)).encode()
    assert web.mail.count(host.encode()) == len(rows) + 2
    port = web.server_address[1]
    browser = browse(f"--host-resolver-rules=MAP {host} 127.0.0.1:{service.web}, MAP * 127.0.0.1:{port}")
    try:
        page = browser.new_context(user_agent="Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0 Safari/537.36").new_page()
        for number, row in enumerate(rows):
            page.goto(ADDRESS)
            page.click(f"#r{number} span")
            page.wait_for_url(lambda url: url != ADDRESS)
            assert page.title() == "arrived"
            assert page.url == page.evaluate("url => new URL(url).href", row["destination"]), row
            assert page.url.partition("#")[0] == web.asked[-1]
        assert page.url == last
    finally:
        browser.close()
    assert not any(host in url for url in web.asked)
    assert "http://images.example.org/a.png" in web.asked

    def lives() -> list[dict[str, Any]]:
        done = subprocess.run(service.command("trace", to, "--json"), capture_output=True, check=False)
        found = json.loads(done.stdout)["messages"] if done.returncode == 0 else []
        clicks = [visit for life in found for visit in life["visits"] if visit["kind"] == "click"]
        return found if len(clicks) >= len(rows) else []

    (life,) = wait(lives, "the clicks in the journal")
    clicks = [visit for visit in life["visits"] if visit["kind"] == "click"]
    assert sorted(visit["number"] for visit in clicks) == list(range(1, len(rows) + 1))
    assert clicks[-1]["destination"] == last
    assert not any(visit["machine"] for visit in life["visits"])
    # The picture and the added one, each time the mail was shown.
    assert len(life["visits"]) - len(clicks) == 2 * len(rows)
