"""Control fields through a real Postfix: none leaves, each decides as it should, in every shape a field can come in."""

import re
import smtplib

import pytest

pytestmark = pytest.mark.system

BOOLEANS = ("inlinecss", "trackclicks", "trackopens", "trackbounces", "preventscam")
HEADER = b"From: News <news@example.com>\r\nTo: reader@example.net\r\nSubject: matrix\r\n"
BODY = b"\r\ntext\r\n"

SHAPES = {  # shape -> the fields, and what they make of a boolean option, and of images (None = the login's setting)
    "absent": (b"", None, None),
    "true": (b"X-SMTPeter-%b: true\r\n", True, None),
    "false": (b"X-SMTPeter-%b: false\r\n", False, None),
    "1": (b"X-SMTPeter-%b: 1\r\n", True, None),
    "yes": (b"X-SMTPeter-%b: yes\r\n", True, None),
    "garbage": (b"X-SMTPeter-%b: perhaps\r\n", None, None),
    "empty": (b"X-SMTPeter-%b:\r\n", None, None),
    "twice": (b"X-SMTPeter-%b: true\r\nX-SMTPeter-%b: false\r\n", False, None),
    "other case": (b"x-sMtPeTeR-%b: TRUE\r\n", True, None),
    "folded": (b"X-SMTPeter-%b:\r\n \r\n\t true\r\n", True, None),
    "hosted": (b"X-SMTPeter-%b: hosted\r\n", None, "hosted"),
    "hosted, other case, folded": (b"X-SMTPETER-%b:\r\n  Hosted\r\n", None, "hosted"),
    "default": (b"X-SMTPeter-%b: default\r\n", None, "default"),
    "blank before the colon": (b"X-SMTPeter-%b : true\r\n", True, None),
    "tab after the colon": (b"X-SMTPeter-%b:\ttrue\r\n", True, None),
}


@pytest.fixture(scope="module")
def logins(service):
    """One login with everything off, one with everything on."""
    everything = [f"{name}=true" for name in BOOLEANS] + ["images=hosted"]
    return {False: service.login(), True: service.login(*everything)}


@pytest.fixture(scope="module")
def sessions(service, logins):
    clients = {on: service.client(login) for on, login in logins.items()}
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("on", [False, True], ids=["login off", "login on"])
@pytest.mark.parametrize("option", [*BOOLEANS, "images"])
def test_the_matrix(service, sessions, transaction, option: str, on: bool, shape: str) -> None:
    fields, boolean, images = SHAPES[shape]
    written = re.sub(rb"%b", option.title().encode(), fields)
    queue_id = transaction(sessions[on], HEADER + written + BODY)
    decision = service.events(queue_id)[0]
    expected = {name: on for name in BOOLEANS}
    hosted = "hosted" if on else "default"
    if option == "images":
        hosted = images or hosted
    elif boolean is not None:
        expected[option] = boolean
    assert f" properties={','.join(name for name in BOOLEANS if expected[name])} " in decision
    assert f" images={hosted} " in decision
    understood = images if option == "images" else boolean
    assert any("event=warning" in line for line in service.events(queue_id)) == (bool(fields) and understood is None)
    assert b"x-smtpeter" not in service.captured(queue_id).header.lower()


NESTED = b"""\
From: News <news@example.com>\r
To: reader@example.net\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="b"\r
X-SMTPeter-Tags: outer\r
\r
--b\r
Content-Type: text/plain\r
X-SMTPeter-InlineCSS: true\r
\r
hello\r
--b\r
Content-Type: message/rfc822\r
\r
From: old@example.org\r
X-SMTPeter-Tags: kept\r
\r
inner\r
--b--\r
"""


def test_fields_of_nested_parts_and_attached_messages_stay(service, sessions, transaction) -> None:
    queue_id = transaction(sessions[False], NESTED)
    left = service.captured(queue_id)
    assert b"x-smtpeter" not in left.header.lower()
    assert left.body == NESTED.partition(b"\r\n\r\n")[2]
    assert " tags=outer " in service.events(queue_id)[0]
    assert " properties= " in service.events(queue_id)[0]


def test_many_of_them_at_once_and_their_neighbours(service, sessions, transaction) -> None:
    fields = b"".join(
        b"%b: %d\r\n" % (name, number)
        for number in range(8)
        for name in (b"X-SMTPeter-Tags", b"X-Keep", b"x-smtpeter", b"X-SMTPETER-unknown", b"X-SMTPeterish", b"X-SMTPeter_x")
    )
    queue_id = transaction(sessions[False], HEADER + fields + BODY)
    kept = [line for line in service.captured(queue_id).header.split(b"\r\n") if line.lower().startswith(b"x-")]
    expected = [line for line in fields.split(b"\r\n") if re.match(rb"X-Keep|X-SMTPeterish|X-SMTPeter_x", line)]
    assert kept == expected


@pytest.mark.parametrize(
    "block",
    [
        b"this is no field\r\nX-SMTPeter-InlineCSS: true\r\nSubject: x\r\n",
        b"Subject: x\r\n\r\n X-SMTPeter-InlineCSS: true\r\n",
        b"Betr\xe9ff: x\r\nX-SMTPeter-InlineCSS: true\r\n",
        b"X-SMTPet\xe9r-InlineCSS: true\r\nno field\r\nx-smtpeter-tags: a\r\n",
    ],
)
def test_a_field_lost_to_a_malformed_line_is_refused(sessions, transaction, block: bytes) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        transaction(sessions[False], b"From: news@example.com\r\n" + block + BODY)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (550, b"5.6.0")


def test_a_leading_blank_in_the_first_line_does_not_smuggle_a_field(service, sessions, transaction) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        transaction(sessions[False], b" X-SMTPeter-InlineCSS: true\r\nFrom: news@example.com\r\n" + BODY)
    assert caught.value.smtp_code == 550


def test_raw_8_bit_fields_leave_as_they_came(service, sessions, transaction) -> None:
    subject = b"Subject: Gr\xfc\xdfe aus K\xf6ln\r\n"
    queue_id = transaction(sessions[False], b"From: news@example.com\r\n" + subject + b"X-SMTPeter-Tags: \xfc\r\n" + BODY)
    header = service.captured(queue_id).header
    assert subject in header
    assert b"x-smtpeter" not in header.lower()


def test_a_long_raw_8_bit_field_still_arrives(service, sessions, transaction) -> None:
    subject = b"Subject: " + b"gr\xfcn " * 300
    queue_id = transaction(sessions[False], b"From: news@example.com\r\n" + subject + b"\r\n" + BODY)
    assert subject.strip() in service.captured(queue_id).header


def test_a_field_postfix_would_cut_is_refused(sessions, transaction) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        transaction(sessions[False], HEADER + b"References:" + b" <x@example.com>\r\n" * 4000 + BODY)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (550, b"5.6.0")


def test_without_options_and_fields_nothing_changes_but_trace_and_signature(service, sessions, transaction) -> None:
    message = HEADER + b"Message-ID: <1@example.com>\r\nDate: Mon, 2 Feb 2026 10:00:00 +0000\r\nX-Odd:no blank\r\n" + BODY
    left = service.captured(transaction(sessions[False], message))
    rest = re.sub(rb"\A(?:(?:Received|DKIM-Signature):[^\n]*\n(?:[ \t][^\n]*\n)*)+", b"", left.raw)
    assert rest == message
