"""Looks at the click hosts, and keeps what was found: in the policy database for all hosts of the service, and in a file for
the processes of this one that do not read it.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from journal.seal import Ring
from policy.click_hosts import ClickHost, HostHealth, Look, State, click_hosts, is_due, judged
from policy.log_line import shown
from policy.stores import AdminStore
from smtpeter import durable
from smtpeter.errors import UserError
from smtpeter.look import FIRST_SECONDS, SECONDS, Visitor, host_name, led, own_networks
from smtpeter.name_server import NameServer, Unanswered
from smtpeter.published import own_click_host
from smtpeter.settings import Settings

AT_ONCE = 32  # hosts that are looked at together

_log = logging.getLogger("smtpeter.probe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Looks at click hosts. `name_server` makes one for each host: one that is slow with one zone is not so with others."""

    settings: Settings
    store: AdminStore
    ring: Ring
    name_server: Callable[[], NameServer]
    clock: Callable[[], float]

    def run(self, only: frozenset[str] | None = None) -> tuple[HostHealth, ...]:
        """The state of all click hosts, or of those of some sender domains, after a look at each of them.

        Raises UserError, and StoreUnavailable where the database does not answer.
        """
        visitor = Visitor(self.ring, self.settings.web.ca)
        domains = self.store.domains()
        own = own_click_host(self.settings)
        asked = click_hosts(domains if only is None else (domain for domain in domains if domain.name in only), own)
        before = {health.place: health for health in self.store.click_hosts()}
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = dict(zip(asked, threads.map(self._way(own), (place.host for place in asked)), strict=True))
            # Who names a domain has changed something there.
            due = [place for place in asked if only is not None or is_due(place, before.get(place), int(self.clock()))]
            ways = {place: way for place in due if not isinstance(way := found[place], Look)}
            looks = {place: way for place, way in found.items() if isinstance(way, Look)}
            # The web server in front fetches a certificate at the first visit, and asks whether it may: it must be told by then.
            new = {place: _AWAITED for place in ways if place not in before or not before[place].certificates}
            self._keep(new, now=None)

            def visit(place: ClickHost) -> Look:
                known = before.get(place)
                return visitor.visit(place, ways[place], SECONDS if known and known.links else FIRST_SECONDS)

            looks |= dict(zip(ways, threads.map(visit, ways), strict=True))
        now = int(self.clock()) if only is None else None
        after = {health.place: health for health in self._keep(looks, now=now)}
        seen = [after[place] for place in asked if place in after]
        for health in seen:
            _tell(before.get(health.place), health)
        return tuple(seen)

    def _way(self, own: ClickHost) -> Callable[[str], tuple[str, ...] | Look]:
        """The question where a host leads."""
        try:
            ours = own_networks(self.name_server(), self.settings.web.addresses, own.host)
        except Unanswered as error:
            reason = f"the DNS did not answer where {own.host} is ({error})"
            unknown = Look(certificates=False, links=False, reason=reason, answered=False)
            return lambda host: unknown
        return lambda host: led(self.name_server(), host, ours)

    def _keep(self, looks: Mapping[ClickHost, Look], *, now: int | None) -> tuple[HostHealth, ...]:
        """Keeps what was found, and forgets what is no click host any more; `now` is the time where all hosts were looked at."""
        places = set(click_hosts(self.store.domains(), own_click_host(self.settings)))
        time = int(self.clock())

        def change(found: Iterable[HostHealth]) -> tuple[HostHealth, ...]:
            known = {health.place: health for health in found if health.place in places}
            judgements = {place: judged(place, known.get(place), look, time) for place, look in looks.items() if place in places}
            return tuple((known | judgements).values())

        kept = self.store.click_hosts()
        if set(change(kept)) != set(kept):  # most looks change nothing, and must not write
            kept = self.store.change_click_hosts(change)
        write(self.settings, kept, now)
        return kept


_AWAITED = Look(certificates=True, links=False, reason="its certificate has not been looked at yet")


def write(settings: Settings, found: Iterable[HostHealth], now: int | None) -> None:
    """Writes the file; `now` is None where not all hosts were looked at. Raises UserError.

    It has `checked`, the time of the last look at all hosts, `certificates`, the hosts that one may be fetched for, and `hosts`.
    """
    hosts = sorted(found, key=lambda health: health.place)
    try:
        folder = settings.click_hosts_file.parent
        folder.mkdir(mode=0o770 if settings.group else 0o700, exist_ok=True)
        with durable.alone(folder):
            content = {
                "checked": _checked(settings) if now is None else now,
                "certificates": [host_name(health.host) for health in hosts if health.https and health.certificates],
                "hosts": [as_row(health) for health in hosts],
            }
            mode = 0o640 if settings.group else 0o600
            durable.replace(settings.click_hosts_file, json.dumps(content, indent=1).encode() + b"\n", mode)
    except OSError as error:
        raise UserError(f"the file {settings.click_hosts_file} cannot be written: {error.strerror}") from error


def as_row(health: HostHealth) -> dict[str, object]:
    """The state of a click host, for a program."""
    return {"state": health.state.value, **asdict(health)}


def _checked(settings: Settings) -> int:
    try:
        return int(json.loads(settings.click_hosts_file.read_bytes())["checked"])
    except (OSError, ValueError, TypeError, LookupError):
        return 0


def _tell(before: HostHealth | None, after: HostHealth) -> None:
    """One line in the log for each change."""
    was = before.state.value if before else "unknown"
    if before is None or (before.state, before.reason) != (after.state, after.reason):
        level = logging.WARNING if after.state in (State.FAILING, State.BAD) else logging.INFO
        _log.log(level, "click_host=%s state=%s was=%s reason=%s", after.place.base, after.state.value, was, shown(after.reason))
