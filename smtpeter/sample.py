"""A newsletter to try things with: a style sheet, a media query, a link, a text part and control fields."""

from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

SENDER = "news@example.com"
RECIPIENT = "reader@example.net"
LINK = "https://www.example.com/bread?list=spring&page=1"

_TEXT = """\
Our spring list is out.

Fresh bread, seven days a week: {link}
"""

_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Spring list</title>
<style>
  body { margin: 0; background: #f4f1ea; }
  td { font-family: helvetica, sans-serif; color: #333333; }
  .card { background: #ffffff; padding: 24px; }
  .card h1 { font-size: 22px; margin: 0 0 12px 0; }
  a.button { background: #2f6f4f; color: #ffffff; padding: 10px 18px; }
  a.button:hover { background: #24553c; }
  @media (max-width: 480px) { .card { padding: 12px !important; } }
</style>
</head>
<body>
<table role="presentation" width="100%">
  <tr><td class="card">
    <h1>Spring list</h1>
    <p style="line-height: 1.5">Fresh bread, seven days a week – from our café to your table.</p>
    <p><a class="button" href="{link}">See the list</a></p>
  </td></tr>
</table>
</body>
</html>
"""


def newsletter(now: datetime, message_id: str) -> bytes:
    """The sample as a client would send it; `message_id` with its angle brackets."""
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Example News <{SENDER}>"
    message["To"] = RECIPIENT
    message["Subject"] = "Spring list"
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    message["X-SMTPeter-InlineCSS"] = "true"
    message["X-SMTPeter-TrackClicks"] = "true"
    message["X-SMTPeter-TrackOpens"] = "true"
    message["X-SMTPeter-Tags"] = "sample, spring"
    message.set_content(_TEXT.format(link=LINK))
    message.add_alternative(_HTML.replace("{link}", escape(LINK)), subtype="html")
    return message.as_bytes()
