"""Which organisation a domain name belongs to, by the public suffix list (RFC 7489 3.2), as it comes with its library."""

from functools import cache

from publicsuffixlist import PublicSuffixList


def organisational_domain(name: str) -> str:
    """The name right below the registry `name` is registered with: example.co.uk for news.example.co.uk.

    `name` is in lower case, in its ASCII form. A name that is a registry itself, as co.uk, is its own: nobody else's aligns
    with it. The same under a top-level domain that the list does not know, as .test, is right below that.
    """
    return _suffixes().privatesuffix(name) or name


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
