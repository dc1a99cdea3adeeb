"""One client of the auth socket: Postfix, or another server that speaks the Dovecot protocol."""

import os
import secrets

from policy import metrics
from policy.attempts import Attempts, Caller, Outcome, Verdict
from policy.client import Client, Clients
from policy.log_line import shown
from policy.login import NAME
from policy.stores import StoreUnavailable
from policy.verifier import Overloaded, Refusal
from policy.wire import dovecot


class AuthClient(Client):
    """A client of the auth socket; several of its requests may be in the works at once."""

    def __init__(self, clients: Clients, attempts: Attempts, serial: int) -> None:
        super().__init__(clients)
        self._attempts = attempts
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
                    metrics.attempt("malformed", request.service)
                    self.send(reply)
                case dovecot.Attempt():
                    self.begin(self._verify(event, now))

    async def _verify(self, attempt: dovecot.Attempt, arrived: float) -> None:
        request = attempt.request
        caller = Caller(address=request.rip, mechanism=request.mechanism, arrived=arrived)
        try:
            outcome = await self._attempts.judge(attempt.credentials, caller)
        except (StoreUnavailable, Overloaded, TimeoutError) as error:
            self._record("trouble", request, attempt.credentials.login, f"{type(error).__name__} {error}")
            metrics.attempt("trouble", request.service)
            self.close("trouble")
            return
        self._record(outcome.verdict, request, outcome.login, outcome.reason)
        metrics.attempt(_counted(outcome), request.service)
        if not outcome.told:
            self._end()  # the line above says it all, and there may be very many
        elif outcome.verdict is Verdict.OK:
            self.send(self._wire.ok(attempt, outcome.login))
        else:
            self.send(self._wire.fail(attempt, outcome.login if NAME.fullmatch(outcome.login) else ""))

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


def _counted(outcome: Outcome) -> str:
    """What an attempt is counted as: wrong passwords and unknown names apart, which the client must not tell."""
    if outcome.verdict is not Verdict.REFUSED:
        return outcome.verdict.value
    if outcome.reason != Refusal.CREDENTIALS:
        return outcome.reason
    return "wrong" if outcome.known else "unknown"
