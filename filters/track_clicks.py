"""Links are replaced by links that record the visit (docs/options.md: trackclicks), each with the recipient and its number.

Links to the web only, in `a` and `area` and the shapes Outlook draws; whatever else a link does stays. A link that its
sender marked as not to be tracked, in the way another provider asks for it, is left alone and loses the mark.
"""

from collections import Counter
from dataclasses import dataclass, field

from filters.click_host import tracking_of
from filters.job import Job, Link, Site, Tracking
from filters.mail.draft import Draft
from filters.mail.judge import LINKS, MARKS
from filters.mail.outline import Element, Value, value, values
from filters.preventscam import shows_itself
from filters.rewrite import Document, Findings, Unchanged, counted, left_alone
from filters.target import Untracked, is_at, target
from journal.event import Event, Kind
from journal.links import LAST_NUMBER, tracked

NAME, PREVENTSCAM = "trackclicks", "preventscam"
_SHOWN = "the label shows the link"


def track_clicks(job: Job, site: Site, document: Document) -> Findings:
    """Replaces the links in the drafts; what else has a mark loses it.

    Raises Unchanged where there is none, or the click host is not in order.
    """
    clicks = _Clicks(job, site, tracking_of(job, site), job.recipient)
    for draft in document.drafts:
        clicks.edit(draft)
    return clicks.findings()


@dataclass(slots=True)
class _Clicks:
    job: Job
    site: Site
    tracking: Tracking
    recipient: bytes
    links: list[Link] = field(default_factory=list)
    number: int = 0

    def edit(self, draft: Draft) -> None:
        for element in draft.outline.elements(LINKS):
            marks = _marks(element)
            for mark in marks:
                draft.remove(mark)
            href = value(element, "href")
            if href is not None and href.quote is not None:
                self.link(draft, element, href, marked=bool(marks))

    def link(self, draft: Draft, element: Element, href: Value, *, marked: bool) -> None:
        before = draft.value(href)
        try:
            url = target(before, unicode=draft.unicode)
            if url is None:
                return
            self.require_trackable(draft, element, url, marked=marked)
        except Untracked as left:
            self.links.append(Link(number=0, image=False, before=before, reason=str(left)))
            return
        self.number += 1
        after = tracked(self.site.ring, self.recipient, self.number, url, self.tracking.base)
        draft.write(href, after)
        self.links.append(Link(number=self.number, image=False, before=before, after=after))

    def require_trackable(self, draft: Draft, element: Element, url: str, *, marked: bool) -> None:
        if marked:
            raise Untracked("marked as not to be tracked")
        if is_at(url, self.tracking.hosts):
            raise Untracked("it leads to a click host already")
        if self.number == LAST_NUMBER:
            raise Untracked(f"more than {LAST_NUMBER} links")
        if self.job.options.preventscam and shows_itself(draft.outline, element, url):
            raise Untracked(_SHOWN)

    def findings(self) -> Findings:
        if not self.links:
            raise Unchanged("no link to the web")
        left = Counter(link.reason for link in self.links if link.reason)
        events = left_alone(NAME, "link", left)
        if self.job.options.preventscam:
            shown = left[_SHOWN]
            kind, reason = (Kind.APPLIED, counted(shown, "link")) if shown else (Kind.SKIPPED, "no label shows its link")
            events = (*events, Event(kind=kind, subject=PREVENTSCAM, reason=reason))
        return Findings(applied=self.number > 0, events=events, links=tuple(self.links))


def _marks(element: Element) -> list[Value]:
    if "track" not in element.attributes.lower():  # as most have none
        return []
    marks = [(name, place) for name, place in values(element).items() if name in MARKS]
    return [place for name, place in marks if name != "clicktracking" or place.raw.strip().lower() == "off"]
