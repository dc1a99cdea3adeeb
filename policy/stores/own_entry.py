"""A login as an entry of our own schema (policy/ldap/smtpeter.ldif), and back.

An attribute that is not there stands for nothing at all: no label, no end, everything allowed, options off.
"""

import re
from ipaddress import ip_network

from policy.identity import check_sender
from policy.limits import InvalidLimit, Limits
from policy.login import NAME, Dialect, Login, Password
from policy.options import InvalidOption, Options, settled
from policy.stores.entry import Entry, UnreadableEntry, generalized

OBJECT_CLASS = "smtpeterLogin"
NAMING = "smtpeterName"  # the attribute that identifies an entry
ATTRIBUTES = (
    NAMING,
    "smtpeterAccount",
    "smtpeterPassword",
    "smtpeterOption",
    "smtpeterEnabled",
    "smtpeterLabel",
    "smtpeterCreated",
    "smtpeterExpires",
    "smtpeterNetwork",
    "smtpeterPort",
    "smtpeterSender",
    "smtpeterDialect",
    "smtpeterLimit",
)

# NUMBER CREATED UNTIL IDLE HASH
_PASSWORD = re.compile(r"([0-9]{1,9}) ([0-9]{1,12}) ([0-9]{1,12}|-) ([0-9]{1,12}|-) (\S+)")
_BOOLEANS = {"": True, "TRUE": True, "FALSE": False}  # RFC 4517 3.3.3


def read(entry: Entry) -> Login:
    """The login of an entry. Raises UnreadableEntry."""
    name = entry.text(NAMING)
    if not NAME.fullmatch(name):
        raise UnreadableEntry(f"{NAMING} cannot be {name!r}")
    try:
        options, forced = settled(Options(), frozenset(), _words(entry, "smtpeterOption"))
        return Login(
            name=name,
            account=entry.text("smtpeterAccount"),
            passwords=tuple(sorted(map(_password, entry.texts("smtpeterPassword")), key=lambda password: password.number)),
            options=options,
            forced=forced,
            enabled=_BOOLEANS[entry.text("smtpeterEnabled")],
            label=entry.text("smtpeterLabel"),
            created=entry.time("smtpeterCreated") or 0,
            expires=entry.time("smtpeterExpires"),
            # As the command writes them, whoever wrote these: what is compared to them has one form.
            networks=tuple(str(ip_network(text, strict=False)) for text in entry.texts("smtpeterNetwork")),
            ports=tuple(map(int, entry.texts("smtpeterPort"))),
            senders=tuple(map(check_sender, entry.texts("smtpeterSender"))),
            dialects=frozenset(map(Dialect, entry.texts("smtpeterDialect"))),
            limits=Limits().with_words(_words(entry, "smtpeterLimit")),
        )
    except (InvalidOption, InvalidLimit) as error:
        raise UnreadableEntry(str(error)) from error
    except (KeyError, ValueError) as error:
        raise UnreadableEntry(f"a value is not understood: {error}") from error


def write(login: Login) -> dict[str, tuple[bytes, ...]]:
    """The values of a login by attribute, () for what is not there."""
    values: dict[str, tuple[str, ...]] = {
        NAMING: (login.name,),
        "smtpeterAccount": (login.account,),
        "smtpeterPassword": tuple(map(_text, login.passwords)),
        "smtpeterOption": _changed(login.options.as_words(login.forced), Options().as_words()),
        "smtpeterEnabled": ("TRUE" if login.enabled else "FALSE",),
        "smtpeterLabel": (login.label,) if login.label else (),
        "smtpeterCreated": (generalized(login.created),),
        "smtpeterExpires": () if login.expires is None else (generalized(login.expires),),
        "smtpeterNetwork": login.networks,
        "smtpeterPort": tuple(map(str, login.ports)),
        "smtpeterSender": login.senders,
        "smtpeterDialect": tuple(sorted(login.dialects)),
        "smtpeterLimit": _changed(login.limits.as_words(), Limits().as_words()),
    }
    # A set of values (RFC 4512 2.5.1): each one once.
    return {attribute: tuple(value.encode() for value in dict.fromkeys(found)) for attribute, found in values.items()}


def _words(entry: Entry, attribute: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in entry.texts(attribute)]
    return {name: word for name, _, word in pairs}


def _changed(words: dict[str, str], usual: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={word}" for name, word in words.items() if word != usual[name])


def _password(text: str) -> Password:
    match = _PASSWORD.fullmatch(text)
    if match is None:
        raise UnreadableEntry("smtpeterPassword takes NUMBER CREATED UNTIL IDLE HASH")  # not its value: that is a hash
    until, idle = (None if word == "-" else int(word) for word in match.group(3, 4))
    return Password(number=int(match[1]), created=int(match[2]), until=until, idle=idle, hash=match[5])


def _text(password: Password) -> str:
    until, idle = ("-" if number is None else str(number) for number in (password.until, password.idle))
    return f"{password.number} {password.created} {until} {idle} {password.hash}"
