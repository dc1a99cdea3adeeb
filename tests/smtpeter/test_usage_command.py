"""What `login show` and `account show` tell of limits."""

import time
from pathlib import Path

import pytest

from policy.account import Account, State
from policy.limits import Limits
from policy.login import Login
from policy.options import Options
from policy.stores.migrate import USAGE, migrate
from policy.stores.usage import Seat, UsageStore
from policy.usage import Amount, holders
from smtpeter.commands.usage import used
from smtpeter.errors import UserError
from smtpeter.output import utc
from smtpeter.settings import Settings

ACCOUNT = Account(name="shop", state=State.APPROVED, created=1, limits=Limits(recipients_day=10, message_size=100))
LOGIN = Login(
    name="a", account="shop", options=Options(), created=1, limits=Limits(messages_hour=2, sessions=3, recipients_message=5)
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_what_is_used_of_what_is_counted(settings: Settings) -> None:
    migrate(settings.usage_url, USAGE)
    assert used(settings, LOGIN) == {"messages-hour": "0 of 2", "sessions": "0 of 3"}
    assert used(settings, ACCOUNT) == {"recipients-day": "0 of 10"}
    store, now = UsageStore(settings.usage_url), int(time.time())
    for minute in (now // 60 - 20, now // 60 - 10):
        assert store.take(holders(LOGIN, ACCOUNT), Amount(messages=1, recipients=3), minute) is None
    assert store.enter(Seat(id="1", login="a", account="shop"), holders(LOGIN, ACCOUNT), "host:1", now) is None
    store.close()
    assert used(settings, LOGIN) == {
        "messages-hour": f"2 of 2, free again at {utc((now // 60 + 41) * 60)}",
        "sessions": "1 of 3",
    }
    assert used(settings, ACCOUNT) == {"recipients-day": "6 of 10"}


def test_a_database_that_is_missing_is_told(settings: Settings) -> None:
    with pytest.raises(UserError, match="what is used of the limits is not known: database: "):
        used(settings, LOGIN)
    assert not (settings.data / "usage.db").exists()
