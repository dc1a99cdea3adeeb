"""Builds the adapters from the settings and hands them out."""

from filters.passes import Passes
from filters.senders import Senders
from journal.images import ImageStore
from journal.ring_file import RingFile
from journal.seal import InvalidRing
from journal.spool import Writer
from policy.domains import MASTER_KEY_LENGTH
from policy.stores.sql import SqlStore
from smtpeter.errors import UserError
from smtpeter.ports import Ports
from smtpeter.settings import Settings


def master_key(settings: Settings) -> bytes:
    """The key that private DKIM keys are encrypted with. Raises UserError where it is missing or damaged."""
    try:
        key = settings.master_key_file.read_bytes()
    except OSError as error:
        raise UserError(f"the master key {settings.master_key_file} cannot be read: {error.strerror}") from error
    if len(key) != MASTER_KEY_LENGTH:
        raise UserError(f"the master key {settings.master_key_file} has {len(key)} octets instead of {MASTER_KEY_LENGTH}")
    return key


def ring_file(settings: Settings, interval: float = 0.0) -> RingFile:
    """The key ring, followed as it changes; `interval` as in RingFile. Raises UserError where it is missing or damaged."""
    file = RingFile(settings.ring_file, interval=interval)
    try:
        file.current()
    except OSError as error:
        advice = "; `smtpeter up` makes it" if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"the key ring {settings.ring_file} cannot be read: {error.strerror}{advice}") from error
    except InvalidRing as error:
        raise UserError(f"the key ring {settings.ring_file} is damaged: {error}; put it back from a backup") from error
    return file


def make_senders(settings: Settings, store: SqlStore) -> Senders:
    """What the milter asks about logins, keys and click hosts. Raises UserError where the master key or the ring is missing."""
    return Senders(
        store,
        master_key=master_key(settings),
        postmaster=settings.contact,
        ring=ring_file(settings),
        click_host=settings.click_host,
        https=settings.web.https,
    )


def make_passes(settings: Settings, store: SqlStore, worker: int) -> Passes:
    """What the milter does with a message, for one of its workers. Raises UserError like `make_senders`."""
    return Passes(
        make_senders(settings, store),
        journal=Writer(settings.spool, f"milter-{worker}"),
        images=ImageStore(settings.images),
    )


def remember_ports(settings: Settings) -> None:
    """Notes the ports the running service listens on, for what is told to users of it."""
    (settings.run / "ports").write_text(",".join(map(str, settings.listen.ports)))


def ports(settings: Settings) -> tuple[int, ...]:
    """The ports the service listens on: those of the last `smtpeter up`, else those of the settings."""
    try:
        return Ports.parse((settings.run / "ports").read_text()).all()
    except (OSError, UserError):
        return settings.listen.ports
