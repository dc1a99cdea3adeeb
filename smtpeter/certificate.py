"""The certificate that clients see: a self-signed one for a first try, and what `smtpeter check` says about any."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtpeter import durable
from smtpeter.errors import UserError

# Longer-lived certificates are refused by some mail clients.
LIFETIME = timedelta(days=825)
_LONGEST_COMMON_NAME = 64  # RFC 5280 appendix A.1, ub-common-name


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a certificate says. `names` are its DNS names and IP addresses; `not_after` is UTC, the last valid moment."""

    names: tuple[str, ...]
    not_after: datetime
    self_signed: bool
    matches_key: bool


def ensure(certificate: Path, key: Path, *, hostname: str, now: datetime) -> bool:
    """Makes a self-signed certificate and its key where there are none. True when it made one. Raises UserError.

    What is there is left alone; a key without a certificate is used for the new one.
    """
    if certificate.exists():
        if not key.exists():
            raise UserError(f"the key {key} of the certificate {certificate} is missing: put it back, or remove both")
        return False
    try:
        for directory in {certificate.parent, key.parent}:
            directory.mkdir(parents=True, exist_ok=True)
        if not key.exists():
            durable.replace(key, _pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
        made = _self_signed(_load_key(key), hostname, now)
        durable.replace(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise UserError(f"the certificate {certificate} cannot be written: {error.strerror}") from error
    return True


def describe(certificate: Path, key: Path) -> Description:
    """What the first certificate of the chain says, and whether the key is its own. Raises UserError."""
    try:
        first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except OSError as error:
        raise UserError(f"the certificate {certificate} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{certificate} holds no certificate in PEM form") from error
    return Description(
        names=_names(first),
        not_after=first.not_valid_after_utc,
        self_signed=first.issuer == first.subject,
        matches_key=_spki(first.public_key()) == _spki(_load_key(key).public_key()),
    )


def _self_signed(key: PrivateKeyTypes, hostname: str, now: datetime) -> x509.Certificate:
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError("the key without a certificate is not an EC key: remove it, or add its certificate")
    try:
        names = [x509.DNSName(name) for name in dict.fromkeys((hostname, "localhost"))]
    except ValueError as error:
        raise UserError(f"the host name {hostname!r} is not ASCII: write it in its xn-- form") from error
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_LONGEST_COMMON_NAME])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([common_name]))
        .issuer_name(x509.Name([common_name]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A client whose clock is a little behind must not see a certificate from the future.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now - timedelta(hours=1) + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(purposes, critical=False)
        .sign(key, hashes.SHA256())
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def _load_key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UserError(f"the key {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError: it is encrypted, and nobody is there to type the password
        raise UserError(f"{path} holds no private key in PEM form without a password") from error


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
