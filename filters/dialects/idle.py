"""The fields and entries of other providers that decide nothing here. All go; what is asked and not done is told in a warning."""

from policy.login import Dialect
from policy.options import TRUE_WORDS

_AT_ONCE = "it is sent at once"
_TEMPLATE = "there are no templates, and nothing is filled in"
_TEST = "there is no test mode: the message is sent"
_ENVELOPE = "only the recipients of the envelope get it"
_UNSUBSCRIBING = "nothing is done about unsubscribing"
_TRANSPORT = "how it is transported is set for the whole service"
_SIGNATURES = "the rules of the account's domains decide on signatures"
_PARAMETERS = "links get no parameters"

# By dialect, the fields as its provider writes them, or the entries of its JSON; a star stands for the rest of a name. With
# each what a warning says is not done, "" where nobody would miss it.
IDLE = {
    Dialect.MAILGUN: {
        "X-Mailgun-Variables": "",
        "X-Mailgun-Sending-Ip": "",
        "X-Mailgun-Sending-Ip-Pool": "",
        "X-Mailgun-Track-Pixel-Location-Top": "",
        "X-Mailgun-Drop-Message": _TEST,
        "X-Mailgun-Deliver-By": _AT_ONCE,
        "X-Mailgun-Deliver-Within": _AT_ONCE,
        "X-Mailgun-Delivery-Time-Optimize-Period": _AT_ONCE,
        "X-Mailgun-Time-Zone-Localize": _AT_ONCE,
        "X-Mailgun-Dkim": _SIGNATURES,
        "X-Mailgun-Secondary-DKIM": _SIGNATURES,
        "X-Mailgun-Secondary-DKIM-Public": _SIGNATURES,
        "X-Mailgun-Require-TLS": _TRANSPORT,
        "X-Mailgun-Skip-Verification": _TRANSPORT,
        "X-Mailgun-Recipient-Variables": _TEMPLATE,
        "X-Mailgun-Template-*": _TEMPLATE,
    },
    Dialect.MANDRILL: {
        "X-MC-Metadata": "",
        "X-MC-Subaccount": "",
        "X-MC-IpPool": "",
        "X-MC-Important": "",
        "X-MC-ViewContentLink": "",
        "X-MC-URLStripQS": "",
        "X-MC-PreserveRecipients": "",
        "X-MC-MergeLanguage": "",
        "X-MC-MergeVars": _TEMPLATE,
        "X-MC-Template": _TEMPLATE,
        "X-MC-AutoText": "no text part is made of the HTML",
        "X-MC-AutoHtml": "no HTML part is made of the text",
        "X-MC-GoogleAnalytics": _PARAMETERS,
        "X-MC-GoogleAnalyticsCampaign": _PARAMETERS,
        "X-MC-BccAddress": _ENVELOPE,
        "X-MC-SendAt": _AT_ONCE,
        "X-MC-TrackingDomain": "links lead to the click host of the sender domain",
        "X-MC-SigningDomain": _SIGNATURES,
        "X-MC-ReturnPathDomain": "the envelope is the one that was sent",
    },
    Dialect.POSTMARK: {"X-PM-Metadata-*": "", "X-PM-Message-Stream": "", "X-PM-KeepID": ""},
    Dialect.SENDGRID: {
        "unique_args": "",
        "ip_pool": "",
        "batch_id": "",
        "filters.clicktrack.settings.enable_text": "",
        "filters.opentrack.settings.replace": "the invisible image stands where it always does",
        "filters.*": "no filters but clicktrack and opentrack",
        "to": _ENVELOPE,
        "sub": _TEMPLATE,
        "section": _TEMPLATE,
        "send_at": _AT_ONCE,
        "send_each_at": _AT_ONCE,
        "asm_group_id": _UNSUBSCRIBING,
        "asm_groups_to_display": _UNSUBSCRIBING,
    },
    Dialect.SPARKPOST: {
        "metadata": "",
        "options.transactional": "",
        "options.skip_suppression": "",
        "options.ip_pool": "",
        "options.sandbox": _TEST,
        "cc": _ENVELOPE,
        "bcc": _ENVELOPE,
        "archive": _ENVELOPE,
    },
    Dialect.SYMFONY: {"X-Metadata-*": ""},
}
# Of most, a value that says no asks for nothing; of these, one that says yes.
ALWAYS_DONE = {"x-mailgun-dkim": TRUE_WORDS}
