"""Builds the adapters from the settings and hands them out."""

from hashlib import blake2b

from filters.passes import Passes
from filters.senders import Senders
from journal.images import ImageStore
from journal.ring_file import RingFile
from journal.seal import InvalidRing
from journal.spool import Writer
from policy.domains import MASTER_KEY_LENGTH
from policy.limiter import Limiter
from policy.stores import AdminStore, LoginStore
from policy.stores.combined import Combined
from policy.stores.engine import database_file
from policy.stores.remembered import Remembered
from policy.stores.sql import SqlStore
from policy.stores.usage import UsageStore
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


def make_store(settings: Settings) -> AdminStore:
    """Where logins, accounts, domains and keys are: the database, and the directory where there is one. Raises UserError.

    Nothing is opened before the first call.
    """
    local = SqlStore(settings.database_url)
    if not settings.directory.urls:
        return local
    # Here, so that no process carries the library in its memory that has no directory to ask.
    from smtpeter.directory import open_directory

    return Combined(local, open_directory(settings), writable=settings.directory.layout == "smtpeter")


def remembering(settings: Settings, store: AdminStore) -> AdminStore | Remembered:
    """`store` for those who ask about senders that have logged in: remembered while another host does not answer."""
    remote = bool(settings.directory.urls) or database_file(settings.database_url) is None
    return Remembered(store, keep=settings.directory.cache) if remote else store


def make_senders(settings: Settings, store: LoginStore) -> Senders:
    """What the milter asks about logins, keys and click hosts. Raises UserError where the master key or the ring is missing."""
    return Senders(
        store,
        master_key=master_key(settings),
        postmaster=settings.contact,
        ring=ring_file(settings),
        click_host=settings.click_host,
        https=settings.web.https,
        only_published=settings.keys.only_published,
        require_sender_domain=settings.require_sender_domain,
        checked=settings.web.checked,
    )


def make_passes(settings: Settings, store: LoginStore, worker: int) -> Passes:
    """What the milter does with a message, for one of its workers. Raises UserError like `make_senders`."""
    return Passes(
        make_senders(settings, store),
        journal=Writer(settings.spool, f"milter-{worker}"),
        images=ImageStore(settings.images),
        limiter=make_usage(settings, f"milter-{worker}"),
    )


def make_usage(settings: Settings, process: str) -> Limiter:
    """What holds logins and accounts to their limits; `process` is the same name again when it is started again."""
    # Nodes share a database, and a host may have two services. The name of a host has up to 253 characters.
    node = blake2b(f"{settings.hostname} {settings.data}".encode(), digest_size=8).hexdigest()
    return Limiter(UsageStore(settings.usage_url), place=f"{settings.hostname[:64]}:{node}:{process}")


def remember_ports(settings: Settings) -> None:
    """Notes the ports the running service listens on, for what is told to users of it."""
    (settings.run / "ports").write_text(",".join(map(str, settings.listen.ports)))


def ports(settings: Settings) -> tuple[int, ...]:
    """The ports the service listens on: those of the last `smtpeter up`, else those of the settings."""
    try:
        return Ports.parse((settings.run / "ports").read_text()).all()
    except (OSError, UserError):
        return settings.listen.ports
