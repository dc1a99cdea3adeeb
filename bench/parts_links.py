"""What it costs to find and to replace the links and images of an HTML text, and to seal what they are replaced by.

    python -m bench.parts_links [--rounds N] [--no-lxml]

Prints a Markdown table: MB of HTML a second on one core, medians of interleaved rounds. lxml, the parser of the standard
library, and turbohtml's rewriter do the same in the same run; where lxml is missing, pip puts it into `bench/python_modules`.
The templates of the corpus are used where it is at hand: SMTPETER_CORPUS, or ../shared/corpus.
"""

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

from turbohtml.rewrite import Element as Matched
from turbohtml.rewrite import rewrite

from bench.figures import met
from bench.newsletter import newsletter
from filters import track_clicks, track_opens
from filters.job import Envelope, Job, Link, Site, Tracking
from filters.mail import parts
from filters.mail.draft import Draft, spliced
from filters.mail.judge import BACKGROUNDS, IMAGES, LINKS, is_sound
from filters.mail.message import Message
from filters.mail.outline import Outline, value
from filters.rewrite import Document, Unchanged
from journal.links import tracked
from journal.seal import KEY_LENGTH, Ring, SealingKey
from policy.options import Options

HERE = Path(__file__).resolve().parent
LXML, MODULES = "lxml==6.1.3", HERE / "python_modules"
SIZES = (3_600, 31_000, 79_000)
GOAL, GOAL_OF_LENGTH = 100.0, 64  # MB/s; characters
BASE = "https://clicks.example.com"
# What every link becomes where none is sealed.
URL = f"{BASE}/garden/harbour-AQ5nT4bzpV0kS7rYxGd2mWc8LqJhUf3oEiN9vBtPkXy6?utm_source=mail"
RING = Ring([SealingKey(id=1, secret=bytes(range(KEY_LENGTH)), created=1, active=1)], now=2)
RECIPIENT = bytes(9)
SITE = Site(signers=lambda _address: (), tracking=lambda _domain: Tracking(base=BASE, hosts=frozenset(("clicks.example.com",))),
            ring=RING, now=2)  # fmt: skip
MESSAGE = Message.parse(b"From: News <news@example.com>\r\nContent-Type: text/html\r\n\r\n")
JOB = Job(
    login="bench", account="bench", envelope=Envelope(mail_from="news@example.com", rcpt_to=("reader@example.net",)),
    options=Options(trackclicks=True, trackopens=True), message=MESSAGE,
)  # fmt: skip
STRUCTURE = parts.scan(MESSAGE)

Way = Callable[[str], object]
"""Does it to one document."""


def samples() -> Iterator[tuple[str, list[str]]]:
    """Each sample: what it is, and its documents."""
    corpus = Path(os.environ.get("SMTPETER_CORPUS") or HERE.parent.parent / "shared" / "corpus") / "html"
    templates = [path.read_text("utf-8") for path in sorted(corpus.glob("*.html"))]
    if templates:
        yield f"{len(templates)} templates", templates
    generated = {size: newsletter(size) for size in SIZES}
    for size, html in generated.items():
        yield f"newsletter of {size / 1000:g} kB", [html]
    yield "all", [*templates, *generated.values()]


# -- ours ------------------------------------------------------------------------------------------------------------------


def find(html: str) -> int:
    """How many links and images there are, the text cut into tokens for nothing else."""
    outline = Outline(html)
    links = [value(element, "href") for element in outline.elements(LINKS)]
    images = [
        value(element, "src" if element.name in IMAGES else "background") for element in outline.elements(IMAGES | BACKGROUNDS)
    ]
    return len([place for place in (*links, *images) if place is not None])


def splice(html: str) -> str:
    """The same, and another URL in the place of each that leads to the web."""
    draft = Draft(html)
    for wanted, name in ((LINKS, "href"), (IMAGES, "src"), (BACKGROUNDS, "background")):
        for element in draft.outline.elements(wanted):
            place = value(element, name)
            if place is not None and place.quote is not None and draft.value(place).startswith(("http://", "https://")):
                draft.write(place, URL)
    return spliced(html, draft.splices())


def edit(html: str) -> Draft:
    """The two filters, as they do it to a message of one recipient."""
    draft = Draft(html)
    document = Document(message=MESSAGE, structure=STRUCTURE, drafts=(draft,))
    track_opens.track_opens(JOB, SITE, document)
    track_clicks.track_clicks(JOB, SITE, document)
    return draft


def whole(html: str) -> str:
    """The filters, and the text that comes of it."""
    return spliced(html, edit(html).splices())


def unsealed(html: str) -> str:
    """The same with one URL for all links, which costs nothing to make."""
    track_clicks.tracked = track_opens.tracked = _url
    try:
        return whole(html)
    finally:
        track_clicks.tracked = track_opens.tracked = tracked


def checked(html: str) -> str:
    """The same as `whole`, and the check that every message goes through."""
    draft = edit(html)
    splices = draft.splices()
    assert is_sound(splices, draft.outline)
    return spliced(html, splices)


def _url(*_arguments: object, **_keywords: object) -> str:
    return URL


# -- the peers -------------------------------------------------------------------------------------------------------------


class _Finder(HTMLParser):
    """The places of the values, as far as the standard library tells them: where a tag begins, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.places: list[tuple[int, int, str]] = []
        self._lines = [0]
        for line in html.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = "href" if tag in LINKS else "src" if tag in IMAGES else "background" if tag in BACKGROUNDS else ""
        if not any(key == name and (text or "").startswith("http") for key, text in attrs):
            return
        line, column = self.getpos()
        text = self.get_starttag_text() or ""
        at = text.lower().index(f'{name}="') + len(name) + 2
        start = self._lines[line - 1] + column + at
        self.places.append((start, start + text.index('"', at) - at, escape(URL)))


def by_html_parser(html: str) -> str:
    """The parser of the standard library."""
    return spliced(html, _Finder(html).places)


def by_turbohtml(html: str) -> str:
    """A rewriter in C that streams, blind inside comments."""

    def write(element: Matched, name: str) -> None:
        if (element.get(name) or "").startswith("http"):
            element.set_attribute(name, URL)

    wanted = ((LINKS, "href"), (IMAGES, "src"), (BACKGROUNDS, "background"))
    selectors = {name: ", ".join(f"{tag}[{name}]" for tag in sorted(tags) if ":" not in tag) for tags, name in wanted}
    return rewrite(html, elements=[(text, lambda element, name=name: write(element, name)) for name, text in selectors.items()])


def by_lxml(lxml: ModuleType) -> Way:
    """A tree, written out again: no byte of the text needs to be what it was."""

    def run(html: str) -> str:
        root = lxml.document_fromstring(html)
        for tags, name in ((LINKS, "href"), (IMAGES, "src"), (BACKGROUNDS, "background")):
            for element in root.iter(*(tag for tag in tags if ":" not in tag)):
                if (element.get(name) or "").startswith("http"):
                    element.set(name, URL)
        return str(lxml.tostring(root, encoding="unicode"))

    return run


def lxml_html() -> ModuleType | None:
    """lxml.html; None where it is not there and pip cannot get it."""
    sys.path.append(str(MODULES))
    for attempt in range(2):
        try:
            return importlib.import_module("lxml.html")
        except ImportError:
            if attempt:
                return None
            command = (
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--target",
                MODULES,
                LXML,
            )
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
            importlib.invalidate_caches()
    return None


# --------------------------------------------------------------------------------------------------------------------------


def measure(documents: list[str], ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """MB a second of each way, by processor time; the first round warms up."""
    size = sum(len(html.encode()) for html in documents)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            for html in documents:
                way(html)
            if number:
                taken[name].append(time.process_time() - start)
    return {name: size / statistics.median(times) / 1e6 for name, times in taken.items()}


def seal_line(documents: list[str], rounds: int) -> str:
    """What it takes to make the URL of one link, and how much longer it is."""
    urls = [link.before for html in documents for link in _links(html) if link.number]
    times = []
    for _ in range(rounds):
        start = time.process_time()
        made = [tracked(RING, RECIPIENT, 1, url, BASE) for url in urls]
        times.append((time.process_time() - start) / len(urls) * 1e6)
    longer = sorted(len(after) - len(before) for after, before in zip(made, urls, strict=True))
    middle = statistics.median(longer)
    return (
        f"Sealing: {statistics.median(times):.2f} us a link. {len(urls)} URLs become {longer[0]} to {longer[-1]} characters "
        f"longer, {middle:.0f} in the middle (goal <= {GOAL_OF_LENGTH}, {met(middle <= GOAL_OF_LENGTH)})."
    )


def _links(html: str) -> tuple[Link, ...]:
    document = Document(message=MESSAGE, structure=STRUCTURE, drafts=(Draft(html),))
    opens = track_opens.track_opens(JOB, SITE, document).links
    try:
        return opens + track_clicks.track_clicks(JOB, SITE, document).links
    except Unchanged:
        return opens


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--no-lxml", action="store_true", help="leave lxml out")
    arguments = parser.parse_args()
    ways: dict[str, Way] = {
        "find": find, "splice": splice, "unsealed": unsealed, "whole": whole, "checked": checked,
        "turbohtml": by_turbohtml, "html.parser": by_html_parser,
    }  # fmt: skip
    if not arguments.no_lxml and (lxml := lxml_html()):
        ways["lxml"] = by_lxml(lxml)
    print("MB/s.\n")
    print("| documents | kB | links | finding | finding + splicing | the filters, unsealed | the filters | + the check ", end="")
    print("| turbohtml | html.parser | lxml |\n|---|---|---|---|---|---|---|---|---|---|---|")
    reached: dict[str, float] = {}
    for name, documents in samples():
        links = sum(1 for html in documents for link in _links(html) if link.number)
        assert sum(splice(html).count(URL) for html in documents) == links
        found = measure(documents, ways, max(arguments.rounds // len(documents), 10))
        cells = [f"{found[way]:.0f}" if way in found else "not at hand" for way in (*ways, "lxml")[:8]]
        print(f"| {name} | {sum(map(len, documents)) / 1000:.0f} | {links} | {' | '.join(cells)} |", flush=True)
        reached[name] = found["splice"]
    first = next(iter(reached))
    name = first if first.endswith("templates") else "all"
    print(f"\nFinding and splicing, {name}: {reached[name]:.0f} MB/s (goal >= {GOAL:g}, {met(reached[name] >= GOAL)}).")
    print(seal_line(documents, arguments.rounds))


if __name__ == "__main__":
    main()
