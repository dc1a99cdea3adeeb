"""One client of the auth socket: Postfix, or another server that speaks the Dovecot protocol."""

import asyncio
import os
import secrets

from policy.client import Client, Clients
from policy.log_line import shown
from policy.login import NAME
from policy.stores import StoreUnavailable
from policy.verifier import Overloaded, Verifier
from policy.wire import dovecot


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
