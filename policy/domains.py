"""Sender domains, their click hosts and DKIM keys (RFC 6376, RFC 8463): which keys exist, which sign, what to publish.

A private key is made or imported here and leaves only sealed under the master key; nothing reads it back but the signer.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from policy.organisation import organisational_domain

RSA_BITS = 2048  # RFC 8301 3.2: sign with at least 2048
MASTER_KEY_LENGTH = 64  # AES-256-SIV, RFC 5297
TXT_STRING = 255  # RFC 1035 3.3.14: one character-string of a TXT record

LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})+")
SELECTOR = re.compile(rf"(?=.{{1,63}}\Z){LABEL}(?:\.{LABEL})*")


class Algorithm(StrEnum):
    """The `k=` tag of the published key (RFC 6376 3.6.1, RFC 8463 4)."""

    RSA = "rsa"
    ED25519 = "ed25519"


class InvalidKey(ValueError):
    """A key cannot be used; the message says why and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderDomain:
    """A domain whose mail an account may sign. `name` is in lower case, in its ASCII form (RFC 5890).

    `clicks` is the host that tracked links of its mail lead to, "" = the service's own; `https` tells how they begin.
    `rotates` tells that its keys change by themselves; `strict` that its DMARC record asks for the identical domain in the
    signature (`adkim=s`, RFC 7489 3.1.1), so that its keys are of no use to mail from a name below.
    """

    name: str
    account: str
    created: int
    clicks: str = ""
    https: bool = True
    rotates: bool = False
    strict: bool = False


class Rule(StrEnum):
    """Which mail of the account a key signs; by the address in From, unless ALWAYS."""

    DOMAIN = "domain"  # of its own domain, and of domains aligned with it
    ALWAYS = "always"  # all, besides the keys that match
    EXACT = "exact"  # whose address, or domain, is the condition
    PATTERN = "pattern"  # whose address, or domain, matches a file name pattern
    EXPRESSION = "expression"  # whose address matches a regular expression
    FALLBACK = "fallback"  # what no key of DOMAIN, EXACT, PATTERN or EXPRESSION signs


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One DKIM key: `sealed` is the private half under the master key, `public` the base64 of the `p=` tag.

    `condition` belongs to the rules EXACT, PATTERN and EXPRESSION. It signs between `start` and `end` where these are given.
    One that `rotates` is published from `created` on, signs from `active` until `retired`, and goes a period after that; the
    others are `active` from the beginning. `seen` is since when the DNS is known to publish it. Times: UTC, seconds since 1970.
    """

    domain: str
    selector: str
    account: str
    algorithm: Algorithm
    public: str
    sealed: bytes = field(repr=False)
    created: int
    rule: Rule = Rule.DOMAIN
    condition: str = ""
    start: int | None = None
    end: int | None = None
    rotates: bool = False
    active: int | None = None
    retired: int | None = None
    seen: int | None = None

    @property
    def record_name(self) -> str:
        """The DNS name the public key is published at (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record_text(self) -> str:
        """The text of the TXT record at `record_name`, not yet cut into strings."""
        return f"v=DKIM1; k={self.algorithm.value}; p={self.public}"


def normalise_domain(text: str) -> str:
    """The ASCII, lower-case form of a domain name. Raises ValueError with a sentence for the user."""
    try:
        name = text.strip().rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError(f"{text!r} is no domain name: {error}") from error
    if not DOMAIN.fullmatch(name):
        raise ValueError(f"{text!r} is no domain name; it takes labels of letters, digits and hyphens joined by dots")
    return name


def owner_of(name: str, owners: Mapping[str, str]) -> str:
    """The account that the nearest sender domain at `name` or above it belongs to, "" for none.

    `owners` are the accounts of all sender domains by name.
    """
    while name:
        if name in owners:
            return owners[name]
        name = name.partition(".")[2]
    return ""


def default_click_host(domain: str) -> str:
    """The click host of a new sender domain; "" where its name would be too long for the DNS."""
    host = f"clicks.{domain}"
    return host if DOMAIN.fullmatch(host) else ""


def check_click_host(text: str, domain: str) -> str:
    """The ASCII, lower-case form of a click host of the sender domain `domain`. Raises ValueError with a sentence for the user.

    A visitor is to see a name of the organisation that sent the mail, so `clicks.example.com` serves `news.example.com` as well.
    Not the domain itself, nor one above it: links to it are to be tracked.
    """
    host = normalise_domain(text)
    below = host.endswith(f".{domain}")
    related = organisational_domain(host) == organisational_domain(domain)
    if not below and (not related or f".{domain}".endswith(f".{host}")):
        example = default_click_host(domain) or f"c.{domain}"
        raise ValueError(f"{text!r} is no click host for {domain}; it takes a name of the same organisation, such as {example}")
    return host


def check_selector(text: str) -> str:
    """`text` in lower case if it can be a selector (RFC 6376 3.1). Raises ValueError with a sentence for the user."""
    selector = text.lower()
    if not SELECTOR.fullmatch(selector):
        raise ValueError(f"{text!r} is no selector; it takes letters, digits and inner hyphens, at most 63")
    return selector


def new_private_key(algorithm: Algorithm) -> bytes:
    """A new private key as PEM (PKCS #8). OpenSSL draws the randomness."""
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm is Algorithm.RSA:
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_private_key(pem: bytes) -> tuple[Algorithm, str, bytes]:
    """Algorithm, public half (base64 for `p=`) and normal form (PKCS #8 PEM) of a private key; checks it wholly.

    Raises InvalidKey for anything but an unencrypted RSA key of at least 2048 bits or an Ed25519 key.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidKey("this is no usable private key; it takes an unencrypted PEM file of RSA or Ed25519") from error
    normal = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < RSA_BITS:
            raise InvalidKey(f"the RSA key has {key.key_size} bits; it takes at least {RSA_BITS} (RFC 8301)")
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Algorithm.RSA, b64encode(public).decode(), normal
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 4.2
        return Algorithm.ED25519, b64encode(raw).decode(), normal
    raise InvalidKey("the key is of a kind DKIM does not know; it takes RSA or Ed25519")


def sealed_key(master: bytes, pem: bytes, *, domain: str, account: str, selector: str, now: int) -> SigningKey:
    """The key in `pem`, sealed under `master`, that signs from now on. Raises InvalidKey like `read_private_key`."""
    algorithm, public, normal = read_private_key(pem)
    return SigningKey(
        domain=domain,
        selector=selector,
        account=account,
        algorithm=algorithm,
        public=public,
        sealed=seal_private_key(master, domain=domain, selector=selector, pem=normal),
        created=now,
        active=now,
    )


def _context(domain: str, selector: str) -> list[bytes]:
    return [b"smtpeter dkim key", domain.encode(), selector.encode()]


def seal_private_key(master: bytes, *, domain: str, selector: str, pem: bytes) -> bytes:
    """`pem` encrypted at rest with AES-SIV (RFC 5297), bound to its domain and selector so that rows cannot be swapped."""
    return AESSIV(master).encrypt(pem, _context(domain, selector))


def unseal_private_key(master: bytes, key: SigningKey) -> bytes:
    """The PEM behind `key`. Raises InvalidKey where the master key is another one or the row was changed."""
    try:
        return AESSIV(master).decrypt(key.sealed, _context(key.domain, key.selector))
    except InvalidTag as error:
        raise InvalidKey(f"the key {key.selector} of {key.domain} does not open under this master key") from error


def txt_strings(text: str) -> tuple[str, ...]:
    """A TXT record's text cut into the strings a zone file takes (RFC 6376 3.6.2.2: joined without blanks)."""
    return tuple(text[start : start + TXT_STRING] for start in range(0, len(text), TXT_STRING))
