"""Whether a message may claim to be from whom it claims to be from."""

from filters.mail.address import only_value
from filters.mail.claims import Claims, claims
from filters.mail.message import Message
from policy.identity import Identity, author_refusal, nobody_refusal, path_refusal
from policy.mailbox import Doubtful
from policy.reply import Refused, malformed

FIELDS = ("From", "Sender")


def check_identity(message: Message, mail_from: str, identity: Identity | None) -> None:
    """Raises Refused where MAIL FROM, From or Sender names somebody the login may not write as, or cannot be read.

    Where `identity` is None, the login may write as anybody.
    """
    found = {field: _claims(message, field) for field in FIELDS}
    if identity is None:
        return
    null_sender = not mail_from
    if null_sender and not found["From"].mailboxes:
        raise Refused(nobody_refusal(identity))
    refusal = path_refusal(mail_from, identity)
    for field, each in found.items():
        refusal = refusal or author_refusal(field, each.mailboxes, each.misread, identity, null_sender=null_sender)
    if refusal is not None:
        raise Refused(refusal)


def _claims(message: Message, field: str) -> Claims:
    try:
        return claims(only_value(message, field))
    except Doubtful as doubt:
        raise Refused(malformed(f"The {field} field cannot be read without doubt: {doubt}")) from doubt
