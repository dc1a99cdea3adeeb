"""Places in the real directory server."""

import pytest

from policy.stores.directory import Place


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
