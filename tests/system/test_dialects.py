"""Other providers' fields through a real Postfix: the same mail as our own fields give, or none of our business."""

import json
import re
import smtplib
import subprocess
from email import message_from_bytes
from email.policy import SMTP
from typing import Any

import pytest

pytestmark = pytest.mark.system

HTML = (
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"<html><head><style>p { color: red }</style></head><body><p>gr\xc3\xbcn "
    b'<a href="https://www.example.com/offer?a=1">offer</a></p></body></html>\r\n'
)
OWN = (
    "X-SMTPeter-TrackOpens: yes\r\nX-SMTPeter-TrackClicks: yes\r\nX-SMTPeter-InlineCSS: yes\r\nX-SMTPeter-Tags: spring, sale\r\n"
)
DIALECTS = {
    "mailgun": (
        "X-Mailgun-Track: yes\r\nX-Mailgun-Tag: spring\r\nX-Mailgun-Tag: sale\r\nX-Mailgun-Variables: {}\r\nX-Mailgun-New: 1\r\n"
    ),
    "mandrill": "X-MC-Track: opens, clicks_all\r\nX-MC-InlineCSS: true\r\nX-MC-Tags: spring,sale\r\nX-MC-Metadata: {}\r\n",
    "postmark": "X-PM-TrackOpens: true\r\nX-PM-TrackLinks: HtmlOnly\r\nX-PM-Tag: spring,sale\r\nX-PM-Metadata-Order: 5\r\n",
    "sendgrid": (
        'X-SMTPAPI: {"category": ["spring",\r\n\t"sale"], "unique_args": {"order": "5"},\r\n "filters":\r\n'
        ' {"clicktrack": {"settings": {"enable": 1}},\r\n  "opentrack": {"settings": {"enable": 1}}}\r\n }\r\n'
    ),
    "sparkpost": (
        'X-MSYS-API: {"options": {"open_tracking": true, "click_tracking": true,\r\n "inline_css": true},'
        ' "tags": ["spring", "sale"], "metadata": {}}\r\n'
    ),
    "symfony": "X-Track: opens=true; clicks=true\r\nX-Tag: spring\r\nX-Tag: sale\r\nX-Metadata-Order: 5\r\n",
}
INLINES = ("mandrill", "sparkpost")  # the others have no word for it
THEIRS = re.compile(r"(?i)x-(?:smtpeter|mailgun-|mc-|pm-|smtpapi|msys-api|track|tag|metadata-)")
BY_POSTFIX = ("received", "dkim-signature", "message-id", "date")


def mail(fields: str) -> bytes:
    header = "From: News <news@example.com>\r\nTo: reader@example.net\r\nX-Before: 1\r\n" + fields + "Subject: spring\r\n"
    return header.encode() + HTML


def content(raw: bytes) -> tuple[list[tuple[str, str]], str]:
    """What the reader gets but for what no two messages share: the fields, and the HTML with one name for all identifiers."""
    message = message_from_bytes(raw, policy=SMTP)
    fields = [(name, str(value)) for name, value in message.items() if name.lower() not in BY_POSTFIX]
    text = message.get_content()
    assert text.count("https://clicks.example.com/") == 2
    return fields, re.sub(r"(https://clicks\.example\.com/)[\w./-]+", r"\1X", text)


def lives(service, wait, queue_id: str, count: int = 1) -> list[dict[str, Any]]:
    """What the journal tells of a message, once it tells of all its recipients and their copies."""

    def look() -> list[dict[str, Any]]:
        done = subprocess.run(service.command("trace", queue_id, "--json"), capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)["messages"] if done.returncode == 0 else []
        copied = count == 1 or all(life["copies"] for life in found)
        return found if len(found) == count and copied else []

    return wait(look, f"{count} records of {queue_id}")


def decided(life: dict[str, Any]) -> dict[str, tuple[str, str]]:
    copies = [decision for copy in life["copies"] for decision in copy["decisions"]]
    return {each["feature"]: (each["outcome"], each["by"]) for each in [*life["decisions"], *copies]}


@pytest.fixture(scope="module")
def ours(service) -> tuple[list[tuple[str, str]], str]:
    """What becomes of the newsletter with our own fields."""
    return content(service.through(service.login(), mail(OWN)).raw)


@pytest.fixture(scope="module")
def logins(service) -> dict[str, Any]:
    """A login for each dialect, with everything off that its fields can turn on."""
    return {
        dialect: service.login(*([] if dialect in INLINES else ["inlinecss=true"]), "--dialect", dialect) for dialect in DIALECTS
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_mail_comes_out_as_with_our_own_fields(service, logins, ours, wait, dialect: str) -> None:
    queue_id = service.send(logins[dialect], mail(DIALECTS[dialect]))
    left = service.captured(queue_id)
    assert content(left.raw) == ours
    assert not [name for name, _ in content(left.raw)[0] if THEIRS.match(name)]
    assert service.signed(left)
    (life,) = lives(service, wait, queue_id)
    assert (life["tags"], life["properties"]) == (["spring", "sale"], ["inlinecss", "trackclicks", "trackopens"])
    by = decided(life)
    assert by["trackclicks"] == by["trackopens"] == ("applied", dialect)
    assert by["inlinecss"] == ("applied", dialect if dialect in INLINES else "login")
    assert f"trackclicks applied ({dialect})" in service.run("trace", queue_id)
    decision, *others = service.events(queue_id)
    assert ' mapped="x-' in decision
    assert [line for line in others if "event=warning" in line] == (
        [f'queue_id={queue_id} event=warning subject=x-mailgun-new reason="unknown field" '] if dialect == "mailgun" else []
    )


@pytest.mark.parametrize("dialect", ["mailgun", "sendgrid"])
def test_several_recipients_get_it_too(service, logins, ours, wait, dialect: str) -> None:
    recipients = ("reader@example.net", "other@example.org")
    queue_id = service.send(logins[dialect], mail(DIALECTS[dialect]), recipients)
    copies = service.copies(queue_id, 2)
    assert [content(copy.raw) for copy in copies] == [ours, ours]
    for life in lives(service, wait, queue_id, 2):
        assert decided(life)["trackclicks"] == ("applied", dialect)
        assert life["tags"] == ["spring", "sale"]


def test_without_the_dialect_the_fields_arrive_as_they_were_sent(service, login, wait) -> None:
    fields = "".join(DIALECTS.values())
    queue_id = service.send(login, mail(fields))
    left = service.captured(queue_id)
    assert fields.encode() in left.raw
    assert left.body == HTML.partition(b"\r\n\r\n")[2]
    (life,) = lives(service, wait, queue_id)
    assert (life["tags"], life["properties"]) == ([], [])
    assert {by for _, by in decided(life).values()} == {"login"}
    assert len(service.events(queue_id)) == 1


def test_a_login_takes_several_dialects_and_only_those(service, wait) -> None:
    login = service.login("--dialect", "postmark", "--dialect", "mailgun")
    queue_id = service.send(login, mail("".join(DIALECTS.values())))
    names = [name for name, _ in message_from_bytes(service.captured(queue_id).raw, policy=SMTP).items() if THEIRS.match(name)]
    asked = [line.partition(":")[0] for line in "".join(DIALECTS.values()).split("\r\n") if re.match(r"X-", line)]
    assert names == [name for name in asked if not name.startswith(("X-PM-", "X-Mailgun-"))]
    (life,) = lives(service, wait, queue_id)
    assert life["tags"] == ["spring", "sale"]
    assert decided(life)["trackclicks"] == ("applied", "postmark")  # X-Mailgun-Track is a general one


@pytest.mark.parametrize("word", ["on", "off"])
def test_what_the_login_keeps_for_itself_no_message_decides(service, wait, word: str) -> None:
    login = service.login(f"trackclicks=forced-{word}", "--dialect", "mailgun")
    asked = "no" if word == "on" else "yes"
    queue_id = service.send(login, mail(f"X-SMTPeter-TrackClicks: {asked}\r\nX-Mailgun-Track: {asked}\r\n"))
    left = service.captured(queue_id)
    assert (b"clicks.example.com" in left.raw) is True  # the pixel, or the link
    assert (b"https://www.example.com/offer" in left.body) is (word == "off")
    assert not re.search(rb"(?im)^x-(?:smtpeter|mailgun)", left.header)
    (life,) = lives(service, wait, queue_id)
    by = decided(life)
    assert by["trackclicks"] == ("applied" if word == "on" else "off", "login, forced")
    assert by["trackopens"] == ("off" if word == "on" else "applied", "mailgun")
    refusal = 'reason="the login does not let a message decide this" '
    subjects = re.findall(r"subject=(\S+) " + refusal, "\n".join(service.events(queue_id)))
    assert subjects == ["x-smtpeter-trackclicks", "x-mailgun-track"]


def test_the_preview_tells_who_decided(service, tmp_path) -> None:
    login = service.login("trackopens=forced-off", "--dialect", "sparkpost")
    file = tmp_path / "mail.eml"
    file.write_bytes(mail(DIALECTS["sparkpost"]))
    told = service.run("preview", str(file), "--login", login.name, "--diff")
    assert "# trackclicks: applied, decided by sparkpost" in told
    assert "# trackopens: off, decided by login, forced" in told
    assert "# x-msys-api options.open_tracking: warning (the login does not let a message decide this)" in told
    assert "# x-msys-api options.click_tracking: understood (trackclicks=true)" in told


def test_a_field_lost_to_a_malformed_line_is_refused_only_where_it_would_have_counted(service, login, logins) -> None:
    lost = mail("this is no field\r\nX-Mailgun-Track: yes\r\n")
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        service.send(logins["mailgun"], lost)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (550, b"5.6.0")
    assert b"X-Mailgun-Track: yes\r\n" in service.through(login, lost).raw
