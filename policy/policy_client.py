"""One client of the policy socket: an smtpd(8) process, which asks about one recipient after another."""

import asyncio
from collections import deque
from concurrent.futures import Executor

from policy import metrics
from policy.client import Client, Clients
from policy.gate import Gate
from policy.log_line import shown
from policy.reply import AUTHENTICATION_REQUIRED, TLS_REQUIRED, TROUBLE, Reply
from policy.stores import StoreUnavailable
from policy.wire import delegation

PIPELINE = 256  # requests of one connection that wait; Postfix has one


class PolicyClient(Client):
    """A client of the policy socket; its requests are answered in their order."""

    def __init__(self, clients: Clients, gate: Gate, readers: Executor, within: float) -> None:
        super().__init__(clients)
        self._gate, self._readers, self._within = gate, readers, within
        self._wire = delegation.Parser()
        self._waiting: deque[delegation.Request] = deque()
        self._working = False
        self._message = ""  # Postfix's name for the one asked about
        self._accepted: set[str] = set()  # its recipients; one that is told twice is one, in any case, as to Postfix

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
            metrics.recipient(refusal)
            self.send(delegation.encode(delegation.DUNNO if refusal is None else delegation.refuse(refusal)))
        self._working = False

    async def _decide(self, request: delegation.Request) -> tuple[Reply | None, str]:
        """The refusal, or None, and the cause of trouble for the log."""
        if not request.sasl_username:
            return AUTHENTICATION_REQUIRED, ""
        if not request.encrypted:
            return TLS_REQUIRED, ""
        if request.instance != self._message:
            self._message, self._accepted = request.instance, set()
        recipient = request.recipient.casefold()
        others = len(self._accepted) - (recipient in self._accepted)
        try:
            async with asyncio.timeout(self._within):
                loop = asyncio.get_running_loop()
                refusal = await loop.run_in_executor(self._readers, self._gate.refusal, request, others)
        except (StoreUnavailable, TimeoutError) as error:
            return TROUBLE, f"{type(error).__name__} {error}"
        if refusal is None:
            self._accepted.add(recipient)
        return refusal, ""

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
