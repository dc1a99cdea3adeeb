"""The auth socket and the policy socket on one event loop.

Auth: every connection is greeted at once, so that Postfix can build its list of mechanisms without any store. FAIL is
written only after a comparison or for credentials that cannot be read; trouble and overload close the connection,
which Postfix reports as 454. Policy: trouble is answered with 451; a request that cannot be read closes the connection,
which Postfix answers by its default_action. Nothing is ever let through because something failed.

One line is logged for each decision, to the loggers smtpeter.auth and smtpeter.policy.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from policy.attempts import Attempts
from policy.auth_client import AuthClient
from policy.client import Client, Clients
from policy.gate import Gate
from policy.login import Login, Password
from policy.overseer import Overseer
from policy.password import verify
from policy.policy_client import PolicyClient
from policy.pulse import beat
from policy.stores import LoginStore
from policy.throttle import FLOOR, LONGEST, Throttle
from policy.uses import Uses
from policy.verifier import Verifier

READERS = 4  # threads that wait for the store
BACKLOG = 1024  # connections not yet accepted: every smtpd process may come at once

auth_log = logging.getLogger("smtpeter.auth")
policy_log = logging.getLogger("smtpeter.policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things may take, in seconds, and how much may wait. The defaults fit Postfix's own."""

    partial: float = 10.0  # the rest of a request that has begun
    floor: float = FLOOR  # until a first wrong password is answered; each one doubles it, up to the next
    auth: float = LONGEST  # an attempt; Postfix waits 10 (AUTH_TIMEOUT), and we want to be the one who says why
    policy: float = 4.0  # a decision; the policy service is configured with a timeout of 5
    finish: float = 5.0  # the requests in hand when the server stops
    pending: int = 100  # comparisons for each worker, running or waiting: 2 to 4 s of work


async def serve(
    *,
    auth: socket.socket,
    policy: socket.socket,
    store: LoginStore,
    gate: Gate,
    workers: int,
    peers: frozenset[int],
    stop: asyncio.Event,
    uses: Uses | None = None,
    times: Times = Times(),  # frozen, so one default serves all calls
    compare: Callable[[str, bytes], bool] = verify,
    opened: Callable[[Login, Password, bytes], None] = lambda login, password, typed: None,
    overseer: Overseer | None = None,
) -> None:
    """Serves both sockets, which listen already, until `stop` is set; then answers what is in hand and returns.

    `peers` are the numeric users whose processes are served; `workers` bounds the password comparisons that run at
    once; `gate` decides about recipients, `uses` remembers successful logins, `compare` tells whether a password matches a
    stored hash, `opened` is as in Verifier, `overseer` is told how it goes. The sockets are closed at the end, their paths stay.
    """
    readers = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="store")
    uses = Uses() if uses is None else uses
    verifier = Verifier(
        store,
        workers=workers,
        pending_limit=workers * times.pending,
        readers=readers,
        compare=compare,
        used_since=uses.used_since,
        opened=opened,
    )
    throttle = Throttle(floor=times.floor, longest=times.auth)
    attempts = Attempts(verifier, throttle, uses, floor=times.floor, within=times.auth)
    auth_clients = Clients(peers, times.partial, auth_log)
    policy_clients = Clients(peers, times.partial, policy_log)
    serials = itertools.count(1)
    finished = asyncio.Event()
    kept = asyncio.create_task(uses.keep(finished))
    overseer = overseer or Overseer()
    beating = asyncio.create_task(beat(overseer, (readers, *verifier.pools)))
    try:
        servers = [
            await _listen(auth, lambda: AuthClient(auth_clients, attempts, next(serials))),
            await _listen(policy, lambda: PolicyClient(policy_clients, gate, readers, times.policy)),
        ]
        overseer.ready()
        await stop.wait()
        overseer.stopping()
        for server in servers:
            server.close()
        await asyncio.gather(auth_clients.finish(times.finish), policy_clients.finish(times.finish))
        finished.set()
        await asyncio.wait((kept,), timeout=times.finish)
    finally:
        kept.cancel()
        beating.cancel()
        verifier.close()
        readers.shutdown(wait=False, cancel_futures=True)


async def _listen(listener: socket.socket, client: Callable[[], Client]) -> asyncio.Server:
    # Not create_unix_server: from Python 3.13 on it removes the path, which belongs to whoever listens for us.
    return await asyncio.get_running_loop().create_server(client, sock=listener, backlog=BACKLOG)
