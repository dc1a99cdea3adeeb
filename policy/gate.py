"""What is decided about a recipient before the message is there: who sends, as whom, and how much."""

import time

from policy.access import Session, decide
from policy.identity import Identity, path_refusal
from policy.limiter import Limiter
from policy.login import NAME, Login
from policy.owners import Owners
from policy.reply import Reply
from policy.stores import LoginStore
from policy.usage import holders
from policy.uses import Uses
from policy.wire.delegation import Request


class Gate:
    """Decides about the requests of a policy server; from any thread. `postmaster` is in the refusal without permission.

    `uses` remembers which client a login sends with; `require_sender_domain` is the setting of that name.
    """

    def __init__(
        self,
        store: LoginStore,
        *,
        postmaster: str,
        limiter: Limiter,
        uses: Uses | None = None,
        require_sender_domain: bool = False,
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._postmaster = postmaster
        self._uses = Uses() if uses is None else uses
        self._owners = Owners(store)
        self._require_sender_domain = require_sender_domain

    def refusal(self, request: Request, accepted: int) -> Reply | None:
        """The refusal of a recipient, or None; `accepted` is how many others of this message were let in before.

        Raises StoreUnavailable.
        """
        name = request.sasl_username
        login = self._store.login(name) if NAME.fullmatch(name) else None
        account = None if login is None else self._store.account(login.account)
        self._uses.sent(name, request.client_address, request.helo_name)
        port = int(request.server_port) if request.server_port.isdecimal() else 0
        session = Session(address=request.client_address, port=port, now=int(time.time()))
        refusal = decide(name, login, account, session, postmaster=self._postmaster)
        if refusal is not None or login is None or account is None:
            return refusal
        refusal = path_refusal(request.sender, self._identity(login))
        if refusal is not None:
            return refusal
        size = int(request.size) if request.size.isdecimal() else 0
        return self._limiter.refusal(holders(login, account), accepted=accepted, size=size)

    def _identity(self, login: Login) -> Identity:
        owners, required = self._owners.current(), self._require_sender_domain
        return Identity(account=login.account, words=login.senders, owners=owners, required=required)
