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
import os
import secrets
import socket
from collections import deque
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from policy.access import decide
from policy.account import Account
from policy.client import Client, Clients
from policy.log_line import shown
from policy.login import NAME, Login
from policy.reply import AUTHENTICATION_REQUIRED, TLS_REQUIRED, TROUBLE, Reply
from policy.stores import LoginStore, StoreUnavailable
from policy.verifier import Overloaded, Verifier
from policy.wire import delegation, dovecot

READERS = 4  # threads that wait for the store
PIPELINE = 256  # policy requests of one connection that wait; Postfix has one
BACKLOG = 1024  # connections not yet accepted: every smtpd process may come at once

auth_log = logging.getLogger("smtpeter.auth")
policy_log = logging.getLogger("smtpeter.policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how much may wait. The defaults fit Postfix's own."""

    partial: float = 10.0  # the rest of a request that has begun
    auth: float = 8.0  # an attempt; Postfix waits 10 (AUTH_TIMEOUT), and we want to be the one who says why
    policy: float = 4.0  # a decision; the policy service is configured with a timeout of 5
    finish: float = 5.0  # the requests in hand when the server stops
    pending: int = 100  # comparisons for each worker, running or waiting: 2 to 4 s of work


async def serve(
    *,
    auth: socket.socket,
    policy: socket.socket,
    store: LoginStore,
    postmaster: str,
    workers: int,
    peers: frozenset[int],
    stop: asyncio.Event,
    limits: Limits = Limits(),  # frozen, so one default serves all calls
) -> None:
    """Serves both sockets, which listen already, until `stop` is set; then answers what is in hand and returns.

    `peers` are the numeric users whose processes are served; `workers` bounds the password comparisons that run at
    once; `postmaster` is the address in the refusal of an account without permission. The sockets are closed at the
    end, their paths stay.
    """
    readers = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="store")
    verifier = Verifier(store, workers=workers, pending_limit=workers * limits.pending, readers=readers)
    auth_clients = Clients(peers, limits.partial, auth_log)
    policy_clients = Clients(peers, limits.partial, policy_log)
    serials = itertools.count(1)
    reader = StoreReader(store, readers)
    loop = asyncio.get_running_loop()
    try:
        # Not create_unix_server: from Python 3.13 on it removes the path, which belongs to whoever listens for us.
        servers = [
            await loop.create_server(
                lambda: AuthClient(auth_clients, verifier, limits.auth, next(serials)), sock=auth, backlog=BACKLOG
            ),
            await loop.create_server(
                lambda: PolicyClient(policy_clients, reader, limits.policy, postmaster), sock=policy, backlog=BACKLOG
            ),
        ]
        await stop.wait()
        for server in servers:
            server.close()
        await asyncio.gather(auth_clients.finish(limits.finish), policy_clients.finish(limits.finish))
    finally:
        verifier.close()
        readers.shutdown(wait=False, cancel_futures=True)


class AuthClient(Client):
    """A client of the auth socket; several of its requests may be in the works at once."""

    def __init__(self, clients: Clients, verifier: Verifier, within: float, serial: int) -> None:
        super().__init__(clients)
        self._verifier, self._within = verifier, within
        self._wire = dovecot.Connection(process=os.getpid(), serial=serial, cookie=secrets.token_hex(16))

    @property
    def partial_since(self) -> float | None:
        """When the incomplete line began."""
        return self._wire.partial_since

    def greet(self) -> None:
        """Sends the greeting without waiting for the client's."""
        self.send(self._wire.greeting)

    def received(self, data: bytes, now: float) -> None:
        """Answers what needs no comparison and begins the comparisons."""
        try:
            events = self._wire.receive(data, now)
        except dovecot.ProtocolError as error:
            self.close(str(error))
            return
        for event in events:
            match event:
                case dovecot.Challenged(reply=reply):
                    self.send(reply)
                case dovecot.Malformed(request=request, why=why, reply=reply):
                    self._record("refused", request, "", why)
                    self.send(reply)
                case dovecot.Attempt():
                    self.begin(self._verify(event))

    async def _verify(self, attempt: dovecot.Attempt) -> None:
        request, claimed = attempt.request, attempt.credentials
        try:
            async with asyncio.timeout(self._within):
                login = await self._verifier.verify(claimed.login, claimed.password)
        except (StoreUnavailable, Overloaded, TimeoutError) as error:
            self._record("trouble", request, claimed.login, f"{type(error).__name__} {error}")
            self.close("trouble")
            return
        if login is None:
            self._record("refused", request, claimed.login, "credentials")
            self.send(self._wire.fail(attempt, claimed.login if NAME.fullmatch(claimed.login) else ""))
        else:
            self._record("ok", request, login, "")
            self.send(self._wire.ok(attempt, login))

    def _record(self, verdict: str, request: dovecot.Request, login: str, reason: str) -> None:
        self.log.info(
            "verdict=%s login=%s mechanism=%s service=%s rip=%s secured=%s reason=%s",
            verdict,
            # People type the password into the field of the user name: only what can be a login is shown.
            login if NAME.fullmatch(login) else "-",
            request.mechanism,
            request.service or "-",
            request.rip or "-",
            "yes" if request.secured else "no",
            shown(reason),
        )


class StoreReader:
    """Reads of the store, which block, away from the event loop."""

    def __init__(self, store: LoginStore, readers: Executor) -> None:
        self._store, self._readers = store, readers

    async def owner(self, name: str) -> tuple[Login | None, Account | None]:
        """The login of that name and its account. Raises StoreUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._owner, name)

    def _owner(self, name: str) -> tuple[Login | None, Account | None]:
        login = self._store.login(name) if NAME.fullmatch(name) else None
        return login, None if login is None else self._store.account(login.account)


class PolicyClient(Client):
    """A client of the policy socket; its requests are answered in their order."""

    def __init__(self, clients: Clients, reader: StoreReader, within: float, postmaster: str) -> None:
        super().__init__(clients)
        self._reader, self._within, self._postmaster = reader, within, postmaster
        self._wire = delegation.Parser()
        self._waiting: deque[delegation.Request] = deque()
        self._working = False

    @property
    def partial_since(self) -> float | None:
        """When the incomplete block began."""
        return self._wire.partial_since

    def received(self, data: bytes, now: float) -> None:
        """Queues the requests."""
        try:
            self._waiting += self._wire.receive(data, now)
        except delegation.ProtocolError as error:
            self.close(str(error))
            return
        if len(self._waiting) > PIPELINE:
            self.close("pipeline")
        elif self._waiting and not self._working:
            self._working = True
            self.begin(self._work())

    async def _work(self) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            refusal, reason = await self._decide(request)
            self._record(request, refusal, reason)
            self.send(delegation.encode(delegation.DUNNO if refusal is None else delegation.refuse(refusal)))
        self._working = False

    async def _decide(self, request: delegation.Request) -> tuple[Reply | None, str]:
        """The refusal, or None, and the cause of trouble for the log."""
        if not request.sasl_username:
            return AUTHENTICATION_REQUIRED, ""
        if not request.encrypted:
            return TLS_REQUIRED, ""
        try:
            async with asyncio.timeout(self._within):
                login, account = await self._reader.owner(request.sasl_username)
        except (StoreUnavailable, TimeoutError) as error:
            return TROUBLE, f"{type(error).__name__} {error}"
        return decide(request.sasl_username, login, account, postmaster=self._postmaster), ""

    def _record(self, request: delegation.Request, refusal: Reply | None, reason: str) -> None:
        self.log.info(
            "verdict=%s login=%s state=%s client=%s queue_id=%s instance=%s sender=%s recipient=%s reason=%s",
            "dunno" if refusal is None else f"{refusal.code}/{refusal.enhanced}",
            *(
                shown(text)
                for text in (
                    request.sasl_username,
                    request.protocol_state,
                    request.client_address,
                    request.queue_id,
                    request.instance,
                    request.sender,
                    request.recipient,
                )
            ),
            shown(reason),
        )
