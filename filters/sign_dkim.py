"""DKIM signatures (RFC 6376, RFC 8463) on the message as it leaves. The only module that imports dkim.

The field has dkimpy's layout and folding. What costs dkimpy most is done otherwise: OpenSSL signs with a key that is loaded
once, the message is not parsed again, and the canonical form is made once for all keys in linear time. What comes out is
what dkimpy's own `sign` gives for the same key, fields and time; tests/filters/test_sign_dkim.py compares the two.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import dkim
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from filters.job import Job, Signer, Site
from filters.mail.address import author_address
from filters.mail.lines import fit_lines, has_long_line
from filters.mail.message import Field, Message
from filters.mail.parts import scan
from filters.mail.relaxed import relaxed_body_hash, relaxed_fields
from journal.event import Kind
from policy.domains import Algorithm, InvalidKey

# Signed once more than they are there, so that a second one breaks the signature (RFC 6376 5.4.2).
OVERSIGNED = (
    b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"mime-version", b"content-type",
    b"content-transfer-encoding", b"list-unsubscribe", b"list-unsubscribe-post",
)  # fmt: skip
# Signed where they are there: a mailing list may add its own, which says nothing false about ours.
SIGNED = (
    b"sender", b"in-reply-to", b"references", b"list-id", b"list-help", b"list-subscribe", b"list-post", b"list-owner",
    b"list-archive",
)  # fmt: skip
SIGNED_LIMIT = 256  # fields in one signature; a message that repeats singular fields more often is not honest
UNBROKEN = 66  # octets of the longest domain that dkimpy's folding leaves in one piece

_PLACES = {name: place for place, name in enumerate((*OVERSIGNED, *SIGNED))}
_PADDING, _PREHASHED = padding.PKCS1v15(), utils.Prehashed(hashes.SHA256())
_FIELD_NAME = b"DKIM-Signature"
_PLACEHOLDER = b"0" * 60  # dkimpy folds around one of this size before it knows the signature
_LINE = 72


class Unsignable(ValueError):
    """This message is not signed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """A message in the form that is signed (RFC 6376 3.4.2, 3.4.4: relaxed), made once for all its signatures.

    `header` is the signed fields in the order of signing, `names` the `h=` tag, `body_hash` the `bh=` tag.
    """

    header: bytes
    names: bytes
    body_hash: bytes

    @classmethod
    def of(cls, message: Message) -> Self:
        """The canonical form of `message`. Raises Unsignable where it repeats fields beyond reason."""
        # From the bottom up where a name is there more than once (RFC 6376 5.4.2).
        fields = relaxed_fields(field for field in reversed(message.fields) if field.name.lower() in _PLACES)
        if len(fields) + len(OVERSIGNED) > SIGNED_LIMIT:
            raise Unsignable(f"more than {SIGNED_LIMIT - len(OVERSIGNED)} fields of names that are signed")
        fields.sort(key=_place)
        return cls(
            header=b"".join([b"%b:%b" % field for field in fields]),
            names=b" : ".join([*[name for name, _ in fields], *OVERSIGNED]),
            body_hash=b64encode(relaxed_body_hash(message.body)),
        )


def _place(field: tuple[bytes, bytes]) -> int:
    return _PLACES[field[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Signs for one domain with one key, which OpenSSL holds ready; a `filters.job.Signer`. Safe to share among threads."""

    domain: str
    selector: str
    algorithm: Algorithm
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)

    @classmethod
    def load(cls, domain: str, selector: str, algorithm: Algorithm, pem: bytes) -> Self:
        """The signer with the private key in `pem`, which was checked when it was stored.

        Raises InvalidKey where it is no key of that algorithm.
        """
        try:
            # The checks of an RSA key cost 30 ms each time; policy.domains.read_private_key has made them.
            key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError) as error:
            raise InvalidKey(f"the key {selector} of {domain} cannot be read") from error
        kind = rsa.RSAPrivateKey if algorithm is Algorithm.RSA else ed25519.Ed25519PrivateKey
        if not isinstance(key, kind):
            raise InvalidKey(f"the key {selector} of {domain} is no {algorithm.value} key")
        return cls(domain=domain, selector=selector, algorithm=algorithm, key=key)

    def sign(self, message: Message, now: int) -> Field:
        """The DKIM-Signature field for `message`; `now` becomes the `t=` tag. Raises Unsignable."""
        return self.sign_canonical(Canonical.of(message), now)

    def sign_canonical(self, canonical: Canonical, now: int) -> Field:
        """The DKIM-Signature field for a message in canonical form."""
        domain = self.domain.encode()
        tags = b"v=1; a=%b-sha256; c=relaxed/relaxed; d=%b; i=@%b; q=dns/txt; s=%b; t=%d; h=%b; bh=%b; b=" % (
            *(self.algorithm.value.encode(), domain, domain, self.selector.encode()),
            *(now, canonical.names, canonical.body_hash),
        )
        fold = dkim.fold if len(domain) <= UNBROKEN else _fold_between_words
        unsigned = fold(tags + _PLACEHOLDER, len(_FIELD_NAME)).removesuffix(_PLACEHOLDER)
        ((name, value),) = relaxed_fields([(_FIELD_NAME, unsigned)])
        digest = hashlib.sha256(b"%b%b:%b" % (canonical.header, name, value.rstrip())).digest()
        return Field(_FIELD_NAME, b" " + fold(tags + b64encode(self._sign_digest(digest)), len(_FIELD_NAME)))

    def _sign_digest(self, digest: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(digest, _PADDING, _PREHASHED)
        return self.key.sign(digest)  # RFC 8463 3: the digest is the message


def _fold_between_words(text: bytes, name_length: int) -> bytes:
    """`text` folded at blanks, and within its last word, the `b=` tag, whose pieces a verifier joins."""
    *words, last = text.split(b" ")
    lines, line = [], b" " * name_length
    for word in words:
        if len(line) + len(word) >= _LINE and line.strip():
            lines.append(line)
            line = b""
        line += b" " + word
    lines += [line, *(b" " + last[at : at + _LINE - 1] for at in range(0, len(last), _LINE - 1))]
    return b"\r\n".join(lines).lstrip(b" ")


def sign_all(message: Message, signers: Iterable[Signer], now: int) -> tuple[Field, ...]:
    """A signature of each signer; the body is hashed once. Raises Unsignable."""
    signers = tuple(signers)
    canonical = Canonical.of(message)
    return tuple(
        signer.sign_canonical(canonical, now) if isinstance(signer, KeySigner) else signer.sign(message, now)
        for signer in signers
    )


def verify(raw: bytes, records: Mapping[str, str]) -> bool:
    """Whether dkimpy verifies the signatures of a message: all whose key is in `records` (name to text), and at least one.

    Those of Ed25519 are left out: dkimpy needs PyNaCl for them, which nothing else here does.
    """
    message = dkim.DKIM(raw)
    verified = []
    for index, signature in enumerate(value for name, value in message.headers if name.lower() == _FIELD_NAME.lower()):
        tags = dict(re.findall(rb"([a-z]+)=([^;]*)", b"".join(signature.split())))
        name = b"%b._domainkey.%b" % (tags.get(b"s", b""), tags.get(b"d", b""))
        record = records.get(name.decode("ascii", "replace"))
        if record is None or tags.get(b"a") == b"ed25519-sha256":
            continue
        try:
            verified.append(message.verify(index, dnsfunc=_answering(record)))
        except dkim.DKIMException:
            verified.append(False)
    return bool(verified) and all(verified)


def _answering(record: str) -> Callable[..., bytes]:
    return lambda _name, timeout=0: record.encode()


def sign(job: Job, site: Site) -> Job:
    """`job` with a DKIM signature of each key for its author, made on a message that no line length rule changes later.

    Raises Refused for a message with two From fields.
    """
    address = author_address(job.message)
    domain = address.rpartition("@")[2] or "dkim"
    signers = site.signers(address)
    if not signers:
        reason = "the account has no key for this domain" if address else "the From field gives no domain"
        return job.noting(Kind.UNSIGNED, domain, reason)
    job = _fitted(job)
    try:
        signatures = sign_all(job.message, signers, site.now)
    except Unsignable as error:
        return job.noting(Kind.UNSIGNED, domain, str(error))
    job = replace(job, message=Message((*signatures, *job.message.fields), job.message.body))
    for signer in signers:
        job = job.noting(Kind.SIGNED, f"{signer.selector}._domainkey.{signer.domain}")
    return job


def _fitted(job: Job) -> Job:
    """`job` with a message whose lines no relay breaks, as far as that is possible."""
    if not has_long_line(job.message):
        return job
    message, parts = fit_lines(job.message, scan(job.message))
    job = replace(job, message=message)
    for part in parts:
        job = job.noting(Kind.REENCODED, part.content_type, "lines over 998 octets")
    if has_long_line(message):
        job = job.noting(Kind.WARNING, "dkim", "lines over 998 octets stay; breaking them on the way breaks the signature")
    return job
