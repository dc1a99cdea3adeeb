"""postfix/: what Postfix itself makes of the files, read with postconf(1) and postmap(1); nothing is started."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

FILES = Path(__file__).parents[2] / "postfix"
LISTENERS = ("25/inet", "587/inet", "465/inet")
INTERNAL = "127.0.0.1:10587/inet"
SPLIT = "split/unix"


def ask(*arguments: str, folder: Path = FILES) -> str:
    done = subprocess.run(("/usr/sbin/postconf", "-c", str(folder), *arguments), capture_output=True, text=True, check=True)
    assert done.stderr == "", "postconf warns"
    return done.stdout.strip()


def value(name: str) -> str:
    return ask("-xh", name)


@pytest.mark.parametrize("arguments", [("-n",), ("-x", "-n"), ("-M",), ("-F",), ("-P",)])
def test_postconf_reads_the_files_without_a_warning(arguments: tuple[str, ...]) -> None:
    assert ask(*arguments)


SETTINGS = {
    # The milter and the policy server: trouble is 4xx, soon.
    "milter_default_action": "tempfail",
    "milter_connect_timeout": "5s",
    "milter_command_timeout": "20s",
    "milter_content_timeout": "30s",
    "smtpd_milters": "unix:/run/smtpeter/milter",
    "non_smtpd_milters": "",
    "internal_mail_filter_classes": "",
    "smtpd_policy_service_timeout": "5s",
    "service_throttle_time": "1s",
    # Who may send.
    "mynetworks": "",
    "smtpd_sasl_type": "dovecot",
    "smtpd_sasl_path": "unix:/run/smtpeter/auth",
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_authenticated_header": "no",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_data_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_end_of_data_restrictions": "",
    "authorized_submit_users": "root",
    "smtpd_authorized_xclient_hosts": "",
    "smtpd_authorized_xforward_hosts": "",
    # Sessions.
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "smtpd_client_event_limit_exceptions": "",
    "smtpd_hard_error_limit": "5",
    "disable_vrfy_command": "yes",
    "smtpd_etrn_restrictions": "reject",
    # TLS.
    "smtpd_tls_security_level": "encrypt",
    "smtpd_tls_auth_only": "yes",
    "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
    "smtpd_tls_protocols": ">=TLSv1.2",
    "smtpd_tls_mandatory_ciphers": "high",
    # The message, on its way in and out.
    "smtputf8_enable": "yes",
    "header_size_limit": "102400",
    "mime_nesting_limit": "50",
    "nested_header_checks": "static:DUNNO",
    "message_strip_characters": r"\0",
    "receive_override_options": "",
    "always_add_missing_headers": "yes",
    "local_header_rewrite_clients": "",
    "smtp_line_length_limit": "0",
    "disable_mime_output_conversion": "yes",
    "enable_long_queue_ids": "yes",
    "maximal_queue_lifetime": "1d",
    "bounce_queue_lifetime": "1d",
    "notify_classes": "",
    "mydestination": "",
    "relayhost": "",
    # Split messages.
    "milter_header_checks": f"regexp:{FILES}/milter_header_checks",
    "split_destination_recipient_limit": "1",
    "minimal_backoff_time": "60s",
    "queue_run_delay": "60s",
}

# What the listener for copies asks of a client: nothing, since only our own transport is one. The milter asks for a ticket.
INTERNAL_SETTINGS = {
    "milter_macro_daemon_name": "INTERNAL",
    "smtpd_tls_security_level": "none",
    "smtpd_sasl_auth_enable": "no",
    "mynetworks": "127.0.0.1",
    "smtpd_relay_restrictions": "permit_mynetworks,reject",
    "smtpd_client_restrictions": "",
    "smtpd_helo_restrictions": "",
    "smtpd_sender_restrictions": "",
    "smtpd_recipient_restrictions": "",
    "smtpd_data_restrictions": "",
    "smtpd_end_of_data_restrictions": "",
    "smtpd_client_event_limit_exceptions": "$mynetworks",
    "smtpd_authorized_xforward_hosts": "$mynetworks",
    "smtpd_peername_lookup": "no",
    "smtpd_hard_error_limit": "1",
    "smtpd_error_sleep_time": "0",
}
SPLIT_SETTINGS = {
    "smtp_tcp_port": "$smtpeter_internal_port",
    "smtp_header_checks": "",
    "smtp_tls_security_level": "none",
    "smtp_tls_wrappermode": "no",
    "smtp_tls_policy_maps": "",
    "smtp_sasl_auth_enable": "no",
    "smtp_fallback_relay": "",
    "smtp_bind_address": "127.0.0.1",
    "smtp_send_xforward_command": "yes",
    "smtp_connection_cache_destinations": "127.0.0.1",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting(name: str) -> None:
    assert value(name) == SETTINGS[name]


def test_the_sum_of_the_policy_answers_is_never_yes() -> None:
    assert value("smtpd_policy_service_default_action").startswith("451 4.3.5 ")


def test_unauthenticated_mail_is_answered_530() -> None:
    assert value("smtpd_sender_restrictions").split(", ") == [
        "permit_sasl_authenticated",
        "check_sender_access static:{530 5.7.0 Authentication required}",
    ]


def test_the_policy_server_is_asked_for_each_recipient() -> None:
    assert value("smtpd_recipient_restrictions").endswith("check_policy_service unix:/run/smtpeter/policy")


def test_chunking_and_etrn_are_not_advertised() -> None:
    assert {"chunking", "etrn"} <= set(value("smtpd_discard_ehlo_keywords").split(", "))


def test_at_least_a_hundred_recipients() -> None:
    assert int(value("smtpd_recipient_limit")) >= 100


def test_anonymous_suites_are_excluded() -> None:
    assert "aNULL" in value("smtpd_tls_mandatory_exclude_ciphers").split(", ")


def test_the_key_comes_first_in_the_chain() -> None:
    assert value("smtpd_tls_chain_files") == "/etc/smtpeter/tls/key.pem, /etc/smtpeter/tls/certificate.pem"


def test_a_message_may_grow_beyond_the_size_that_is_advertised() -> None:
    assert int(value("smtpeter_advertised_size")) == 100 * 2**20
    assert int(value("message_size_limit")) == 3 * int(value("smtpeter_advertised_size"))
    assert {ask("-Ph", f"{listener}/message_size_limit") for listener in LISTENERS} == {"$smtpeter_advertised_size"}


def test_every_listener_tells_the_milter_where_the_mail_comes_from() -> None:
    assert {ask("-Ph", f"{listener}/milter_macro_daemon_name") for listener in LISTENERS} == {"ORIGINATING"}


def test_only_465_speaks_tls_from_the_first_byte() -> None:
    overrides = [line for line in ask("-P").splitlines() if not line.startswith((INTERNAL, SPLIT))]
    assert [line for line in overrides if "tls" in line] == ["465/inet/smtpd_tls_wrappermode = yes"]


def test_the_listeners_are_these_three_and_one_on_loopback() -> None:
    services = [line.split() for line in ask("-M").splitlines()]
    assert {service[0] for service in services if service[1] == "inet"} == {"25", "587", "465", "127.0.0.1:10587"}


def overridden(service: str) -> dict[str, str]:
    lines = (line.removeprefix(f"{service}/").partition(" = ") for line in ask("-P", service).splitlines())
    return {name.strip(" ="): value.strip() for name, _, value in lines}


def test_the_listener_for_copies_asks_nothing_that_was_asked_before_and_takes_larger_ones() -> None:
    assert overridden(INTERNAL) == INTERNAL_SETTINGS  # and so neither another size nor another milter


def test_the_transport_for_copies_goes_to_that_listener_and_nowhere_else() -> None:
    assert overridden(SPLIT) == SPLIT_SETTINGS  # and so neither other lines nor another encoding
    assert value("smtpeter_internal_port") == "10587"


def test_every_override_of_the_two_has_its_reason() -> None:
    """Each list of reasons stands above its service; what is only switched off by name shares one."""
    text = (FILES / "master.cf").read_text()
    for service in ("127.0.0.1:10587 inet", "split "):
        above = text[: text.index(f"\n{service}")].rpartition("\n\n")[2]
        assert above.count("# - ") >= 4


def test_more_copies_can_be_received_than_sent_at_a_time() -> None:
    limits = {line.split()[0]: line.split()[6] for line in ask("-M").splitlines()}
    assert 2 * int(limits["split"]) < int(limits["127.0.0.1:10587"])


def test_2525_is_ready(tmp_path: Path) -> None:
    text = (FILES / "master.cf").read_text()
    shutil.copy(FILES / "main.cf", tmp_path)
    (tmp_path / "master.cf").write_text(re.sub(r"^#(?=2525|    -o)", "", text, flags=re.MULTILINE))
    entry = ask("-M", "2525/inet", folder=tmp_path)
    assert entry.split("smtpd", 1)[1] == ask("-M", "587/inet").split("smtpd", 1)[1]


def test_no_service_is_chrooted() -> None:
    assert {line.split()[4] for line in ask("-M").splitlines()} == {"n"}


def test_every_parameter_is_explained() -> None:
    """A block of parameters, which a blank line ends, holds a comment."""
    blocks = (FILES / "main.cf").read_text().split("\n\n")
    assert [block for block in blocks if "=" in block and not re.search(r"^#", block, re.MULTILINE)] == []


def lookup(field: str, table: str = "outgoing_header_checks") -> str:
    done = subprocess.run(
        ("/usr/sbin/postmap", "-c", str(FILES), "-q", field, f"regexp:{FILES}/{table}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    "field",
    [
        "X-SMTPeter-InlineCSS: true",
        "x-smtpeter: 1",
        "X-SMTPETER-TAGS:a",
        "x-smtpeter- : x",
        "X-SMTPeter-Unknown\t: x",
        "x-smtpeter-a:\r\n folded",
    ],
)
def test_control_fields_do_not_leave(field: str) -> None:
    assert lookup(field) == "IGNORE"


@pytest.mark.parametrize(
    "field",
    ["X-SMTPeterly: 1", "XX-SMTPeter-Tags: a", "x-smtpeter_a: 1", "Subject: x-smtpeter-tags: a", "X-SMTP: x-smtpeter:"],
)
def test_other_fields_stay(field: str) -> None:
    assert lookup(field) == ""


@pytest.mark.parametrize("field", ["X-SMTPeter-Job: AAAA", "x-smtpeter-job:A", "X-SMTPeter-Job: AA\r\n BB"])
def test_our_ticket_splits_a_message(field: str) -> None:
    assert lookup(field, "milter_header_checks") == "FILTER split:[127.0.0.1]"


@pytest.mark.parametrize(
    "field", ["X-SMTPeter-Jobs: A", "X-SMTPeter-Tags: x-smtpeter-job:", "Subject: X-SMTPeter-Job: A", "DKIM-Signature: v=1"]
)
def test_nothing_else_does(field: str) -> None:
    assert lookup(field, "milter_header_checks") == ""
