"""What is decided about a recipient before the message is there: who sends, as whom, and how much."""

import time

from policy.access import Session, decide
from policy.login import NAME
from policy.reply import Reply
from policy.stores import LoginStore
from policy.wire.delegation import Request


class Gate:
    """Decides about the requests of a policy server; from any thread. `postmaster` is in the refusal without permission."""

    def __init__(self, store: LoginStore, *, postmaster: str) -> None:
        self._store = store
        self._postmaster = postmaster

    def refusal(self, request: Request, accepted: int) -> Reply | None:
        """The refusal of a recipient, or None; `accepted` is how many others of this message were let in before.

        Raises StoreUnavailable.
        """
        name = request.sasl_username
        login = self._store.login(name) if NAME.fullmatch(name) else None
        account = None if login is None else self._store.account(login.account)
        port = int(request.server_port) if request.server_port.isdecimal() else 0
        session = Session(address=request.client_address, port=port, now=int(time.time()))
        return decide(name, login, account, session, postmaster=self._postmaster)
