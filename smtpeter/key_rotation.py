"""Moves the keys that change by themselves: what is new is published first and kept then, so that none signs unpublished."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from policy.dns_records import target_records
from policy.domains import Algorithm, SigningKey, new_private_key, sealed_key
from policy.rotation import Make, due_at, move, turns
from policy.stores import AdminStore
from smtpeter import durable, zone
from smtpeter.inspection import OK, key_status
from smtpeter.name_server import NameServer, Unanswered
from smtpeter.published import rotating_keys, service_of
from smtpeter.settings import Settings

DAY = 86_400  # seconds
BATCH = 100  # domains that move with one writing of the zone file


def maker(master: bytes, *, domain: str, account: str, now: int) -> Make:
    """Makes rotating keys of a domain."""

    def make(algorithm: Algorithm, selector: str) -> SigningKey:
        key = sealed_key(master, new_private_key(algorithm), domain=domain, account=account, selector=selector, now=now)
        return replace(key, rotates=True, active=None)

    return make


class Rotation:
    """What the timer does at each of its hours; every line it returns is a sentence for the operator.

    Nothing moves where the zone file cannot be written. Without one, somebody else publishes the keys: then a key counts as
    published since the DNS was seen to do so, as it does where only published keys sign.
    """

    def __init__(self, settings: Settings, store: AdminStore, master: bytes, names: NameServer) -> None:
        self._settings = settings
        self._store = store
        self._master = master
        self._names = names
        self._answers = True
        self._by_sight = by_sight(settings)

    def run(self, now: int, only: str | None = None) -> list[str]:
        """Moves what is due, or of one domain only; `now` is UTC seconds since 1970. Raises UserError, StoreUnavailable."""
        self._answers = True
        if self._by_sight:
            self._look_for_unseen(now)
        found = rotating_keys(self._store)
        # What was not in the file until now has not been published for a period, whatever its age is.
        before = zone.current(self._settings)
        with durable.alone(self._settings.data):
            zone.publish(self._settings, rotating_keys(self._store), now)
        said: list[str] = []
        due = []
        for domain in [name for name in sorted(found) if only in (None, name)]:
            try:
                time = next_move(self._settings, found[domain])
                if time is not None and time <= now:
                    trouble = self._trouble(found[domain], before)
                    said += [trouble] if trouble else []
                    due += [] if trouble else [domain]
            except ValueError as error:
                said.append(str(error))
        for start in range(0, len(due), BATCH):
            said += self._move({name: found[name] for name in due[start : start + BATCH]}, now)
        return said

    def _move(self, due: Mapping[str, tuple[SigningKey, ...]], now: int) -> list[str]:
        moved: dict[str, tuple[SigningKey, ...]] = {}
        for domain, keys in due.items():
            make = maker(self._master, domain=domain, account=keys[0].account, now=now)
            moved[domain] = move(keys, make, now)
        said: list[str] = []
        with durable.alone(self._settings.data):
            zone.publish(self._settings, {**rotating_keys(self._store), **moved}, now)
            for domain, keys in due.items():
                if self._keep(domain, keys, moved[domain]):
                    said += [self._sentence(domain, moved[domain])]
            if len(said) < len(due):  # somebody else moved or removed a domain meanwhile; its keys are to be published
                zone.publish(self._settings, rotating_keys(self._store), now)
        return said

    def _keep(self, domain: str, before: tuple[SigningKey, ...], after: tuple[SigningKey, ...]) -> bool:
        """Whether the keys could be changed, being still as they were."""
        kept = False

        def change(found: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
            nonlocal kept
            rotating = tuple(key for key in found if key.rotates)
            kept = set(rotating) == set(before)
            return (*(key for key in found if not key.rotates), *after) if kept else found

        self._store.change_keys(domain, change)
        return kept

    def _trouble(self, keys: Iterable[SigningKey], before: str) -> str:
        """Why the keys of a domain cannot move although it is time, "" for nothing."""
        for turn in turns(keys).values():
            domain, selector = turn.next.domain, turn.next.selector
            (target,) = target_records([turn.next], service_of(self._settings).domain)
            if self._settings.keys.zone is not None and target.line not in before:
                return f"{domain}: {selector} was not in the zone file until now; the keys move later"
            if not self._by_sight and self._sees(turn.next) is False and self._sees(turn.current):
                return (
                    f"{domain}: the DNS has no {turn.next.record_name}, so the keys stay as they are;"
                    f" `smtpeter domain check {domain}` says what to publish"
                )
        return ""

    def _sees(self, key: SigningKey) -> bool | None:
        """Whether the DNS publishes a key; None where it does not answer."""
        if not self._answers:
            return None
        try:
            return key_status(self._names, key) == OK
        except Unanswered:
            self._answers = False  # the others need not wait as long
            return None

    def _look_for_unseen(self, now: int) -> None:
        for account in self._store.accounts():
            for key in self._store.signing_keys(account.name):
                wanted = key.rotates or self._settings.keys.only_published
                if key.seen is None and key.retired is None and wanted and self._sees(key):
                    note_seen(self._store, [key], now)

    def _sentence(self, domain: str, keys: Iterable[SigningKey]) -> str:
        turned = turns(keys).values()
        now = " and ".join(turn.current.selector for turn in turned)
        before = " and ".join(turn.previous.selector for turn in turned if turn.previous)
        return f"{domain}: mail is signed by {now} now; published for another period: {before}"


def by_sight(settings: Settings) -> bool:
    """Whether a key counts as published since the DNS was seen to do so, and not since it was made."""
    return settings.keys.zone is None or settings.keys.only_published


def next_move(settings: Settings, keys: Iterable[SigningKey]) -> int | None:
    """When the rotating keys of a domain are to move on, UTC seconds since 1970; else like `due_at`."""
    return due_at(keys, period=round(settings.keys.period * DAY), by_sight=by_sight(settings))


def note_seen(store: AdminStore, keys: Iterable[SigningKey], now: int | None) -> None:
    """Notes that the DNS publishes keys of one domain since `now`, or does not with None; what was noted before stays."""
    wanted = {(key.domain, key.selector, key.public) for key in keys}

    def noted(key: SigningKey) -> SigningKey:
        changes = (key.domain, key.selector, key.public) in wanted and (key.seen is None) != (now is None)
        return replace(key, seen=now) if changes else key

    for domain in sorted({key.domain for key in keys}):
        store.change_keys(domain, lambda found: tuple(map(noted, found)))


def add_published(settings: Settings, store: AdminStore, keys: tuple[SigningKey, ...], now: int) -> None:
    """Publishes the first rotating keys of a domain, before they are in the store. Raises UserError."""
    with durable.alone(settings.data):
        found, domain = rotating_keys(store), keys[0].domain
        zone.publish(settings, {**found, domain: (*found.get(domain, ()), *keys)}, now)


def republish(settings: Settings, store: AdminStore, now: int) -> None:
    """Brings the zone file to what the store says. Raises UserError."""
    with durable.alone(settings.data):
        zone.publish(settings, rotating_keys(store), now)
