"""One attempt to log in, from its arrival to the moment of its answer: may it be compared, is it right, when is it told?"""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

from policy.login import NAME, neighbourhood
from policy.throttle import Admission, Guess, Throttle, Ticket
from policy.uses import Uses
from policy.verifier import Opened, Refusal, Verifier, identity
from policy.wire.sasl import Credentials

# Answers that are delayed at a time. Each of them holds an smtpd(8) process, and there are 200 for a port (master.cf).
HELD = 64
HELD_UNCOMPARED = 32  # of them, for attempts that are not compared: a flood of those leaves room for an owner's mistakes
WAITING = 256  # attempts from unknown places that wait for others of the same login or address to end


class Verdict(StrEnum):
    """What an attempt comes to. Only of the first two has the password been compared."""

    OK = "ok"
    REFUSED = "refused"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verdict that is to be told now; `login` is the name as it is looked up, `reason` is for the log.

    `told` is False where the connection is closed in place of an answer, which Postfix reports as 454. `known` tells whether
    there is such a login, for the operator's numbers only: neither the client nor its time of answer may depend on it.
    """

    verdict: Verdict
    login: str
    reason: str = ""
    told: bool = True
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who tries: the address ("" = not known), the mechanism, and when it came, on the event loop's clock."""

    address: str
    mechanism: str
    arrived: float


class Attempts:
    """Judges attempts on one event loop, each within `within` seconds of its arrival. `floor` is `throttle`'s."""

    def __init__(self, verifier: Verifier, throttle: Throttle, uses: Uses, *, floor: float, within: float) -> None:
        self._verifier, self._throttle, self._uses = verifier, throttle, uses
        self._floor, self._within = floor, within
        self._secret = secrets.token_bytes(32)
        self._held = 0
        # In the order they came, which is the order they are admitted in.
        self._waiting: dict[asyncio.Future[Ticket | Admission], Guess] = {}

    async def judge(self, claimed: Credentials, caller: Caller) -> Outcome:
        """The outcome, at the moment when it is due.

        Raises StoreUnavailable, Overloaded and TimeoutError, which all mean that nothing is known about the pair.
        """
        name, deadline = identity(claimed.login), caller.arrived + self._within
        async with asyncio.timeout_at(deadline):
            ticket = await self._admitted(self._guess(name, claimed.password, caller.address))
        if ticket is None:
            await self._hold(caller.arrived + self._floor, HELD_UNCOMPARED)
            return Outcome(verdict=Verdict.THROTTLED, login=name, reason="budget", told=False)
        try:
            async with asyncio.timeout_at(deadline):
                found, known = await self._compare(ticket, name, claimed.password, caller)
            if isinstance(found, Opened):
                self._uses.note(found.login, found.password, address=caller.address, mechanism=caller.mechanism)
                return Outcome(verdict=Verdict.OK, login=found.login)
            told = await self._slow(ticket, caller)
            return Outcome(verdict=Verdict.REFUSED, login=name, reason=found.value, told=told, known=known)
        finally:
            self._throttle.leave(ticket)
            self._admit_waiting()

    def _guess(self, name: str, password: bytes, address: str) -> Guess:
        # What cannot be a login may be a password in the wrong field: only a digest of it is kept.
        key = name if NAME.fullmatch(name) else self._digest(name).hex()
        place = neighbourhood(address)
        known = place != "" and self._uses.knows(name, place)
        return Guess(login=key, place=place, digest=self._digest(name, password), known=known)

    def _digest(self, name: str, password: bytes = b"") -> bytes:
        who = name.encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, b"%d:%b%b" % (len(who), who, password), hashlib.sha256)[:16]

    async def _admitted(self, guess: Guess) -> Ticket | None:
        loop = asyncio.get_running_loop()
        found = self._throttle.enter(guess, loop.time())
        if found is Admission.WAIT and (guess.known or len(self._waiting) < WAITING):
            turn: asyncio.Future[Ticket | Admission] = loop.create_future()
            self._waiting[turn] = guess
            try:
                found = await asyncio.shield(turn)
            except asyncio.CancelledError:
                # The turn may have come at the very moment in which nobody waits for it any more.
                if turn.done() and isinstance(ticket := turn.result(), Ticket):
                    self._throttle.leave(ticket)
                    self._admit_waiting()
                raise
            finally:
                self._waiting.pop(turn, None)
        return found if isinstance(found, Ticket) else None

    def _admit_waiting(self) -> None:
        now = asyncio.get_running_loop().time()
        for turn, guess in list(self._waiting.items()):
            if not turn.done() and (found := self._throttle.enter(guess, now)) is not Admission.WAIT:
                turn.set_result(found)

    async def _compare(self, ticket: Ticket, name: str, password: bytes, caller: Caller) -> tuple[Opened | Refusal, bool]:
        """What the password opens, and whether there is such a login."""
        login = await self._verifier.find(name)
        try:
            return await self._verifier.compare(name, login, password, caller.address), login is not None
        except asyncio.CancelledError:
            # Nobody waits for it any more, but it may be compared all the same.
            self._throttle.fail(ticket, asyncio.get_running_loop().time())
            raise

    async def _slow(self, ticket: Ticket, caller: Caller) -> bool:
        """Waits for the moment of a failure's answer; whether it may be told."""
        now = asyncio.get_running_loop().time()
        step, elapsed = self._throttle.fail(ticket, now), now - caller.arrived
        self._admit_waiting()
        if await self._hold(caller.arrived + self._throttle.moment(step, elapsed), HELD):
            return True
        # Too many wait. Still not at once: how long the comparison took would be seen.
        await asyncio.sleep(self._throttle.moment(self._floor, elapsed) - elapsed)
        return False

    async def _hold(self, moment: float, limit: int) -> bool:
        """Waits for a moment of the event loop's clock, unless `limit` answers are delayed already."""
        if self._held >= limit:
            return False
        self._held += 1
        try:
            await asyncio.sleep(moment - asyncio.get_running_loop().time())
        finally:
            self._held -= 1
        return True
