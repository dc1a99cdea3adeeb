"""What `smtpeter journal serve` shows to Prometheus, as the settings say."""

import logging
from pathlib import Path

from journal.drain import Drain
from journal.store import JournalStore
from policy import counting
from policy.stores import watch
from smtpeter import exposition
from smtpeter.host_numbers import HostNumbers
from smtpeter.mail_queue import MailQueue, postqueue
from smtpeter.settings import Settings

OTHERS = ("auth", "milter", "web")

_log = logging.getLogger("smtpeter.metrics")


def serve(settings: Settings, drain: Drain) -> None:
    """Shows the numbers of all processes, where the settings want that; trouble with it is no reason not to drain."""
    counting.begin("journal")
    for process in OTHERS:
        # One that does not run is 0, not missing.
        counting.processes.labels(process).set(0)
    store = JournalStore(settings.journal_url)
    watch.follow({"journal": lambda: store.drained(())})
    if counting.FOLDER:
        exposition.keep_tidy(Path(counting.FOLDER))
    place = settings.metrics
    if not place.port:
        return
    if not counting.FOLDER:
        _log.warning("%s names no folder: only the numbers of this process are shown", counting.VARIABLE)
    queue = MailQueue(postqueue(settings.postfix_config, "-j"), settings.canary_recipient)
    queue.start()
    numbers = HostNumbers(
        spool=drain.waiting,
        queue=lambda: queue.found,
        certificate=settings.certificate,
        click_hosts=settings.click_hosts_file,
        canary=settings.canary_file,
        backup=settings.backup_file,
        canary_login=settings.canary.login,
    )
    try:
        exposition.serve(place.address, place.port, counting.FOLDER, numbers)
    except OSError as error:
        _log.error("address=%s port=%d no metrics: %s", place.address, place.port, error)  # noqa: TRY400  # a sentence says it
