"""The order of the filters, in one table, and the one function that runs them.

Order: later filters must see the URLs earlier ones made, and the signature must see the final bytes; it is last by
construction, not by care. A filter is run when its gate is open for the options in force.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from filters.inline_css import inline_css
from filters.job import Job, Result, Site
from filters.mail.edits import apply, diff
from filters.overrides import apply_overrides, check_header, is_control
from filters.sign_dkim import sign
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
    run: Callable[[Job, Site], Job]
    gate: Callable[[Options], bool]
    scope: Scope


FILTERS = (Filter(name="inlinecss", run=inline_css, gate=lambda options: options.inlinecss, scope=Scope.MESSAGE),)

# Options a login or a message may have on before the filter behind them exists; asking for one is never silent.
_PENDING = ("trackclicks", "trackopens", "trackbounces", "preventscam")


def transform(job: Job, site: Site) -> Result:
    """What leaves, and the edits that make it of what came.

    Raises Refused where the message is refused for good. Every other exception means: nothing of this attempt is sent.
    """
    received = job.message
    check_header(received)
    job = apply_overrides(job).noting(Kind.ATTEMPT, "message")
    for each in FILTERS:
        if each.gate(job.options):
            job = each.run(job, site)
    job = sign(_note_pending(job), site)
    edits = diff(received, job.message)
    left = apply(received, edits)
    if left != job.message or any(map(is_control, left.fields)):
        raise AssertionError("the edits do not make the message that was checked and signed")
    return Result(job=job, edits=edits)


def _note_pending(job: Job) -> Job:
    for name in _PENDING:
        if getattr(job.options, name):
            job = job.noting(Kind.SKIPPED, name, "not available in this release")
    if job.options.images is Images.HOSTED:
        job = job.noting(Kind.SKIPPED, "images", "not available in this release")
    return job
