"""Who may write as whom: one decision, asked for MAIL FROM at RCPT, and for it, From and Sender at the end of the message.

A domain belongs to the account of the nearest sender domain at or above it. What belongs to another account is refused whatever
else is set; then the login's own list decides; without one, the account may write as anybody, unless it is required that it
writes as its own sender domains only.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from policy.domains import normalise_domain, owner_of
from policy.mailbox import Doubtful, Mailbox, read_path
from policy.reply import Reply, author_refused, null_sender_refused, path_doubtful, path_refused

_LOCAL = re.compile(r"[^\x00-\x20\x7f-\xa0\"(),:;<>@\[\]\\\ud800-\udfff]{1,64}")
_SHOWN = re.compile(r"[A-Za-z0-9.@*_+=-]{1,64}")  # a reply is ASCII, and in a milter's a percent sign has a meaning
NOBODY = "nobody.invalid"  # a word that stands for nobody who could be written to (RFC 2606 2)
_LIST_LENGTH = 80  # characters of what is allowed, as a reply names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """As whom a login may write. `words` are its own list in the forms of `check_sender`, empty where it has none.

    `owners` is the account of each sender domain of the service; `required` tells that other domains are refused.
    """

    account: str
    words: tuple[str, ...]
    owners: Mapping[str, str]
    required: bool

    def is_foreign(self, domain: str) -> bool:
        """Whether the domain belongs to another account."""
        return owner_of(domain, self.owners) not in {"", self.account}

    def objection(self, mailbox: Mailbox, *, named: bool = False) -> str:
        """Why the login may not write as `mailbox`, "" where it may. `named` asks that it is allowed by name."""
        owner = owner_of(mailbox.domain, self.owners)
        if owner not in {"", self.account}:
            return "belongs to another account"
        if self.words and not any(_matches(word, mailbox) for word in self.words):
            return "is not on this login's list"
        if not owner and (self.required or (named and not self.words)):
            return "is no sender domain of this account"
        return ""

    def allowed(self, *, named: bool = False) -> str:
        """What it may write as, in a few words for a reply."""
        if self.words:
            found = [word for word in self.words if not self.is_foreign(word.rpartition("@")[2].removeprefix("*."))]
        else:
            own = sorted(name for name, account in self.owners.items() if account == self.account)
            found = [form for name in own for form in (name, f"*.{name}")]
        listed = _listed([word for word in found if _SHOWN.fullmatch(word)], len(found))
        if self.words or self.required or named:
            return listed or ("what its list has" if found else "nobody yet")
        return f"{listed}, or any domain of no account" if listed else "any domain of no account"


def check_sender(text: str) -> str:
    """The normal form of what a login may write as: an address, a domain, or *. and a domain for all names below it.

    Raises ValueError with a sentence for the user.
    """
    word = text.strip()
    local, at, domain = word.rpartition("@")
    if at and not _LOCAL.fullmatch(local):
        raise ValueError(f"{text!r} is no sender; it takes an address, a domain, or *. and a domain")
    below = "*." if not at and domain.startswith("*.") else ""
    return f"{local}{at}{below}{normalise_domain(domain.removeprefix(below))}"


def path_refusal(path: str, identity: Identity) -> Reply | None:
    """The refusal of an address in MAIL FROM, or None. The empty one is judged with the message, by its From."""
    if not path:
        return None
    try:
        mailboxes = read_path(path)
    except Doubtful as doubt:
        return path_doubtful(str(doubt))
    for mailbox in mailboxes:
        if objection := identity.objection(mailbox):
            return path_refused(_named(mailbox), objection, identity.allowed())
    return None


def author_refusal(
    field: str, mailboxes: Iterable[Mailbox], misread: Iterable[str], identity: Identity, *, null_sender: bool
) -> Reply | None:
    """The refusal of those a field of the message names, or None. `field` is its name.

    `misread` are domains that only a reader with a fault finds in it: they must not be another account's, and may be nobody's.
    `null_sender` tells that MAIL FROM was empty, so that what is not explicitly allowed is refused.
    """
    for mailbox in mailboxes:
        if objection := identity.objection(mailbox, named=null_sender):
            return author_refused(field, _named(mailbox), objection, identity.allowed(named=null_sender))
    for domain in misread:
        if identity.is_foreign(domain):
            return author_refused(field, _named(Mailbox("", domain)), "belongs to another account", identity.allowed())
    return None


def nobody_refusal(identity: Identity) -> Reply:
    """The refusal of a message with an empty MAIL FROM that names no author either."""
    return null_sender_refused(identity.allowed(named=True))


def _matches(word: str, mailbox: Mailbox) -> bool:
    local, at, domain = word.rpartition("@")
    if at:
        # Upper and lower case are one, as to nearly every server, and to directories.
        return (mailbox.local.lower(), mailbox.domain) == (local.lower(), domain)
    return mailbox.domain.endswith(word[1:]) if word.startswith("*.") else mailbox.domain == word


def _named(mailbox: Mailbox) -> str:
    """What a reply may repeat of it: the domain, which is checked; of the local part nothing."""
    if not mailbox.domain:
        return "without a domain"
    return mailbox.domain if _SHOWN.fullmatch(mailbox.domain.strip("[]")) else "address"


def _listed(words: Sequence[str], count: int) -> str:
    """As many of the words as fit, and how many there are besides."""
    shown = list(_fitting(words))
    rest = count - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "") if shown else ""


def _fitting(words: Sequence[str]) -> Iterator[str]:
    length = 0
    for word in words:
        length += len(word) + 2
        if length > _LIST_LENGTH:
            return
        yield word
