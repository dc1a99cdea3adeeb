"""Images are fetched by way of the tracking host, and one invisible image is added, so that opening the mail is recorded.

Images of the web in `img`, in the `background` of tables, and in the shapes Outlook draws. A hosted image gets the
recipient into its own URL. The added image goes into the first HTML part, before the end of its body.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from filters.click_host import tracking_of
from filters.job import Job, Link, Site, Tracking
from filters.mail.draft import Draft
from filters.mail.judge import BACKGROUNDS, IMAGES
from filters.mail.outline import Value, value
from filters.rewrite import Document, Findings, left_alone
from filters.target import Untracked, is_at, target
from journal.links import LAST_NUMBER, hosted_name, hosted_tracked, pixel, tracked

NAME = "trackopens"
_BACKGROUND = re.compile(r"background[ \t\n\f\r]*=")
# Out of the flow and not below its end, so that it moves nothing and makes no page longer; where that is not understood it is
# a dot. Important, for newsletters often make every image as wide as the screen, with just that word.
_STYLE = "!important;".join(("position:absolute", "width:1px", "height:1px", "margin:-1px 0 0", "padding:0", "border:0"))
_PIXEL = f'<img src="{{}}" width="1" height="1" alt="" style="{_STYLE}!important">'


def track_opens(job: Job, site: Site, document: Document) -> Findings:
    """Replaces the image links in the drafts, adds the invisible image. Raises Unchanged where the click host is not in order."""
    opens = _Opens(site, tracking_of(job, site), job.recipient)
    for draft in document.drafts:
        opens.edit(draft)
    first = document.drafts[0]
    place = first.outline.end_of_body()
    first.splice([(place, place, _PIXEL.format(pixel(site.ring, opens.recipient, opens.tracking.base)))])
    return opens.findings()


@dataclass(slots=True)
class _Opens:
    site: Site
    tracking: Tracking
    recipient: bytes
    links: list[Link] = field(default_factory=list)
    number: int = 0

    def edit(self, draft: Draft) -> None:
        wanted = IMAGES | BACKGROUNDS if _BACKGROUND.search(draft.source.lower()) else IMAGES
        for element in draft.outline.elements(wanted):
            place = value(element, "src" if element.name in IMAGES else "background")
            if place is not None and place.quote is not None:
                self.image(draft, place)

    def image(self, draft: Draft, place: Value) -> None:
        before = draft.value(place)
        try:
            url = target(before, unicode=draft.unicode)
            if url is None:
                return
            after = self.after(url)
        except Untracked as left:
            self.links.append(Link(number=0, image=True, before=before, reason=str(left)))
            return
        draft.write(place, after)
        self.links.append(Link(number=self.number, image=True, before=before, after=after))

    def after(self, url: str) -> str:
        ours = is_at(url, self.tracking.hosts)
        name = hosted_name(url) if ours else ""
        if ours and not name:
            raise Untracked("it leads to a click host already")
        if self.number == LAST_NUMBER:
            raise Untracked(f"more than {LAST_NUMBER} images")
        self.number += 1
        if ours:
            return hosted_tracked(self.site.ring, self.recipient, self.number, name, self.tracking.base)
        return tracked(self.site.ring, self.recipient, self.number, url, self.tracking.base, image=True)

    def findings(self) -> Findings:
        left = Counter(link.reason for link in self.links if link.reason)
        return Findings(applied=True, events=left_alone(NAME, "image", left), links=tuple(self.links))
