"""Where the links and images of a message lead, and whether they may: a click host that is not in order is not used."""

from filters.job import Job, Site, Tracking
from filters.mail.address import author_domain
from filters.rewrite import Unchanged
from journal.event import Kind


def is_usable(job: Job, site: Site) -> bool:
    """Whether links of this message may lead to its click host."""
    return not site.tracking(author_domain(job.message)).refusal


def tracking_of(job: Job, site: Site) -> Tracking:
    """Where links of this message lead. Raises Unchanged where they may not: it goes out with its own."""
    found = site.tracking(author_domain(job.message))
    if found.refusal:
        raise Unchanged(found.refusal, Kind.UNTRACKED)
    return found
