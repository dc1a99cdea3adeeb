"""`smtpeter milter`: the process that changes messages; `smtpeter up` or a service manager starts it."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime

import typer

from filters import server
from filters.attempt import records
from filters.job import Envelope, Job, Site, Tracking
from filters.mail.message import Message
from filters.pipeline import transform
from filters.sign_dkim import KeySigner
from journal.seal import KEY_LENGTH, Ring, SealingKey
from policy.domains import Algorithm, new_private_key
from policy.options import Images, Options
from policy.stores import AdminStore, StoreUnavailable
from policy.stores.remembered import Remembered
from smtpeter import sample, wiring
from smtpeter.cli import settings_of
from smtpeter.notify import Notifier
from smtpeter.process import mail_group, socket_paths, start_log

REHEARSALS = 20  # enough for the interpreter to settle on the code it specialises


def milter(context: typer.Context) -> None:
    """Serve the milter socket."""
    start_log()
    settings = settings_of(context)
    wiring.master_key(settings)  # a missing key stops the start, not the first mail
    wiring.ring_file(settings)
    store = wiring.remembering(settings, wiring.make_store(settings))
    server.serve(
        socket_paths(settings)["milter"],
        group=mail_group(),
        workers=settings.milter_workers,
        deadline=settings.milter.deadline,
        make_passes=lambda worker: wiring.make_passes(settings, store, worker),
        rehearse=lambda: rehearse(store),
        overseer=Notifier.inherited(),
    )


def rehearse(store: AdminStore | Remembered) -> None:
    """Asks the store what is asked for a message, and runs the sample through every filter a few times.

    The keys it is signed and sealed with are thrown away. The store is left without a connection: none survives a fork.
    """
    with suppress(StoreUnavailable):  # it may be back when the first message comes
        store.login("")
        store.account("")
        store.signing_keys("")
        store.domains("")
    store.close()
    key = KeySigner.load("example.com", "rehearsal", Algorithm.ED25519, new_private_key(Algorithm.ED25519))
    job = Job(
        login="",
        account="",
        envelope=Envelope(mail_from="", rcpt_to=(sample.RECIPIENT,)),
        options=Options(inlinecss=True, trackclicks=True, trackopens=True, preventscam=True, images=Images.HOSTED),
        message=Message.parse(sample.newsletter(datetime.now(UTC), "<rehearsal@example.com>")),
    )
    site = Site(
        signers=lambda address: (key,),
        tracking=lambda domain: Tracking(base="https://clicks.example.com", hosts=frozenset(("clicks.example.com",))),
        ring=Ring((SealingKey(id=0, secret=secrets.token_bytes(KEY_LENGTH), created=0, active=0),), now=0),
        now=0,
    )
    for _ in range(REHEARSALS):
        records(transform(job, site), site.now, "rehearsal")
