"""The order of the filters, in one table, and the one function that runs them.

Order: later filters must see the URLs earlier ones made, and the signature must see the final bytes; it is last by
construction, not by care. A filter is run when its gate is open for the options in force.

A message for several recipients, of which each must get links of his own, goes through twice (DESIGN: several recipients):
what serves all of them is done in the first pass, the rest in the second, for one recipient at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from filters.click_host import is_usable
from filters.copies import with_ticket
from filters.host_images import host_images
from filters.identity import check_identity
from filters.inline_css import inline_css
from filters.job import Job, Result, Site
from filters.mail.edits import Edit, apply, diff
from filters.mail.message import Message
from filters.overrides import apply_overrides, check_header, is_control, strip
from filters.rewrite import HtmlFilter, is_editable, rewrite_html
from filters.sign_dkim import sign
from filters.track_clicks import track_clicks
from filters.track_opens import track_opens
from journal.event import Kind
from policy.options import Images, Options


class Scope(StrEnum):
    """MESSAGE: one result serves all recipients. RECIPIENT: each recipient needs a copy of his own."""

    MESSAGE = "message"
    RECIPIENT = "recipient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One row of the table."""

    name: str
    run: HtmlFilter
    gate: Callable[[Options], bool]
    scope: Scope


FILTERS = (
    Filter(name="images", run=host_images, gate=lambda options: options.images is Images.HOSTED, scope=Scope.MESSAGE),
    Filter(name="inlinecss", run=inline_css, gate=lambda options: options.inlinecss, scope=Scope.MESSAGE),
    Filter(name="trackopens", run=track_opens, gate=lambda options: options.trackopens, scope=Scope.RECIPIENT),
    Filter(name="trackclicks", run=track_clicks, gate=lambda options: options.trackclicks, scope=Scope.RECIPIENT),
)

_SIGNATURES = frozenset((b"dkim-signature", b"arc-message-signature"))

# Options a login or a message may have on before the filter behind them exists; asking for one is never silent.
_PENDING = ("trackbounces",)


def transform(job: Job, site: Site) -> Result:
    """What leaves, and the edits that make it of what came.

    Raises Refused where the message is refused for good. Every other exception means: nothing of this attempt is sent.
    """
    received = job.message
    if job.copy:
        job = replace(job, message=strip(received))
    else:
        check_header(received, job.dialects)
        check_identity(received, job.envelope.mail_from, site.identity)
        job = _note_options(apply_overrides(job).noting(Kind.ATTEMPT, "message"))
    split = not job.copy and _needs_copies(job, site)
    due = [(each.name, each.run) for each in FILTERS if _is_due(each, job, split=split)]
    job = _note_preventscam(rewrite_html(job, site, due), due)
    if job.message.body is not received.body and any(field.name.lower() in _SIGNATURES for field in received.fields):
        job = job.noting(Kind.WARNING, "dkim", "the message came with a signature, which the changes break")
    job = with_ticket(job, site) if split else sign(job, site)
    edits = diff(received, job.message)
    _check_result(received, job, edits, split=split)
    return Result(job=job, edits=edits, split=split)


def _is_due(each: Filter, job: Job, *, split: bool) -> bool:
    """Whether a filter is run in this pass."""
    if not each.gate(job.options):
        return False
    if each.scope is Scope.RECIPIENT:
        return not split
    return not job.copy


def _needs_copies(job: Job, site: Site) -> bool:
    """Whether the recipients must get messages that differ. They need not where the click host is not in order."""
    wanted = any(each.scope is Scope.RECIPIENT and each.gate(job.options) for each in FILTERS)
    return wanted and len(job.recipients) > 1 and is_usable(job, site) and is_editable(job.message)


def _check_result(received: Message, job: Job, edits: tuple[Edit, ...], *, split: bool) -> None:
    left = apply(received, edits)
    if left != job.message or sum(is_control(field, job.dialects) for field in left.fields) != split:
        raise AssertionError("the edits do not make the message that was checked and signed")


def _note_options(job: Job) -> Job:
    """The job with an event for each option that can have no effect."""
    for name in _PENDING:
        if getattr(job.options, name):
            job = job.noting(Kind.SKIPPED, name, "not available in this release")
    if job.options.preventscam and not job.options.trackclicks:
        job = job.noting(Kind.SKIPPED, "preventscam", "trackclicks is off")
    return job


def _note_preventscam(job: Job, due: Sequence[tuple[str, HtmlFilter]]) -> Job:
    """The job with an event for an option that only says how another is done, where that one looked at no link."""
    if not job.options.preventscam or track_clicks not in [run for _, run in due]:
        return job
    if any(event.subject == "preventscam" for event in job.events):
        return job
    return job.noting(Kind.SKIPPED, "preventscam", "no link was looked at")
