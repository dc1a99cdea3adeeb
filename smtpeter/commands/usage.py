"""How much of its limits a login or an account has used: rows for `login show` and `account show`."""

import time

from policy.account import Account
from policy.limits import LIMITS
from policy.login import Login
from policy.stores import StoreUnavailable
from policy.stores.usage import UsageStore
from policy.usage import WINDOWS, Holder, Window, free_at
from smtpeter.errors import UserError
from smtpeter.output import utc
from smtpeter.settings import Settings


def used(settings: Settings, holder: Login | Account) -> dict[str, str]:
    """How much is used of each limit that is counted, by its name; those that are not set are not in it.

    Raises UserError where the usage database cannot be read.
    """
    kind = "login" if isinstance(holder, Login) else "account"
    counted = Holder(kind=kind, name=holder.name, limits=holder.limits)
    store, now = UsageStore(settings.usage_url), int(time.time())
    try:
        found = {window.limit: _used(store, counted, window, now // 60) for window in WINDOWS}
        if holder.limits.sessions is not None:
            found["sessions"] = f"{store.sessions(counted, now)} of {holder.limits.sessions}"
    except StoreUnavailable as error:
        raise UserError(f"what is used of the limits is not known: {error}") from error
    finally:
        store.close()
    return {limit.name: found[limit.field] for limit in LIMITS if found.get(limit.field)}


def _used(store: UsageStore, holder: Holder, window: Window, now: int) -> str:
    allowed = holder.allowed(window)
    if allowed is None:
        return ""
    buckets = store.buckets(holder, window, now)
    words = f"{sum(bucket.number for bucket in buckets)} of {allowed}"
    free = free_at(buckets, window, needed=1, allowed=allowed, now=now)
    return words if free is None or free == now else f"{words}, free again at {utc(free * 60)}"
