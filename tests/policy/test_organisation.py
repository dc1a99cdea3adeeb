import pytest

from policy.organisation import organisational_domain


@pytest.mark.parametrize(
    ("name", "organisation"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("news.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.example.github.io", "example.github.io"),
        ("www.ck", "www.ck"),
        ("a.b.example.ck", "b.example.ck"),
        ("clicks.example.test", "example.test"),
        ("a.xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
    ],
)
def test_the_organisation_is_right_below_its_registry(name: str, organisation: str) -> None:
    assert organisational_domain(name) == organisation
