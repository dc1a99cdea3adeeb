"""Places in the real directory server, and usage databases."""

from pathlib import Path

import pytest

from policy.stores.directory import Place
from policy.stores.migrate import USAGE, migrate


@pytest.fixture
def place(slapd, authority) -> Place:
    """A branch of the server with nothing below, asked by somebody who may write there."""
    return Place(
        urls=(slapd.url,),
        ca=authority.file,
        bind_dn=slapd.admin,
        bind_password_file=slapd.password_file,
        base=slapd.branch(),
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def usage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty usage database of each kind."""
    made = f"sqlite:///{tmp_path / 'usage.db'}" if request.param == "sqlite" else request.getfixturevalue("postgresql").database()
    migrate(made, USAGE)
    return str(made)
