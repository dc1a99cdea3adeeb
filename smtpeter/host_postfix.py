"""Is a Postfix that somebody else starts, such as the host's own, set as smtpeter needs it? Asked of postconf(1)."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from smtpeter.postfix import ask, program, source_directory
from smtpeter.settings import Settings

# Parameters of postfix/main.cf that a site may set as it likes, or must.
FREE = frozenset(
    {
        *("bounce_queue_lifetime", "compatibility_level", "config_directory", "data_directory", "default_process_limit"),
        *("inet_interfaces", "inet_protocols", "mail_owner", "maillog_file", "maillog_file_prefixes", "maximal_queue_lifetime"),
        *("message_size_limit", "minimal_backoff_time", "myhostname", "notify_classes", "queue_directory", "queue_run_delay"),
        *("relayhost", "smtp_tls_loglevel", "smtp_tls_security_level", "smtpd_banner", "smtpd_recipient_limit", "syslog_name"),
        *("smtpd_tls_loglevel", "smtpeter_advertised_size", "smtpeter_canary_domain", "smtpeter_certificate"),
        *("smtpeter_internal_port", "smtpeter_key", "smtpeter_run"),
    }
)
# Those that a site may add to, in front.
EXTENSIBLE = frozenset({"transport_maps", "smtpd_sender_restrictions", "smtpd_recipient_restrictions"})
# Those that are not in postfix/main.cf because their default must stay, and why.
UNSET = {
    "smtpd_end_of_data_restrictions": "a rejection there lets a client go on past the milter",
    "receive_override_options": "mail would be taken without a milter, or with stray line ends",
    "content_filter": "mail would be changed after its signature",
}
_CHROOT, _COMMAND = 4, 7  # columns of master.cf, counted from 0


def running(config: Path) -> bool:
    """Whether the Postfix of that folder runs."""
    return program("postfix", "-c", str(config), "status").returncode == 0


def differences(settings: Settings, config: Path) -> Iterator[str]:
    """A sentence for each parameter and service in the folder `config` that mail needs to be otherwise. Raises UserError."""
    source = source_directory()
    services = _lines(config, "-M")
    yield from _services(services, _lines(source, "-M"))
    found, wanted = _named(config, "-P"), _named(source, "-P")
    for name, value in wanted.items():
        if name.rpartition("/")[0] in services and _plain(found.get(name, "")) != _plain(value):
            yield f"master.cf: {name} is {_shown(found, name)} instead of {value!r}"
    yield from _parameters(_named(config, "-n"), {**_named(source, "-n"), **_of_site(settings)}, _of_site(settings).keys())


def _of_site(settings: Settings) -> dict[str, str]:
    """What main.cf and the settings say both."""
    both = {
        "myhostname": settings.hostname,
        "smtpeter_run": str(settings.run),
        "smtpeter_certificate": str(settings.certificate),
        "smtpeter_key": str(settings.certificate_key),
        "maillog_file": str(settings.postfix.log or ""),
        "relayhost": settings.relay.host,
    }
    return {name: value for name, value in both.items() if value}


def _parameters(found: Mapping[str, str], wanted: Mapping[str, str], told: Collection[str]) -> Iterator[str]:
    for name, value in wanted.items():
        if name in FREE and name not in told:
            continue
        own, ours = _plain(found.get(name, "")), _plain(value)
        if own != ours and not (name in EXTENSIBLE and own.endswith(ours)):
            yield f"main.cf: {name} is {_shown(found, name)} instead of {value!r}"
    for name, reason in UNSET.items():
        if found.get(name):
            yield f"main.cf: {name} is {found[name]!r}, and is to be left out: {reason}"


def _services(found: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> Iterator[str]:
    for name, columns in wanted.items():
        if name not in found:
            yield f"master.cf: there is no service {name}"
        elif found[name][_COMMAND] != columns[_COMMAND]:
            yield f"master.cf: service {name} is {found[name][_COMMAND]} instead of {columns[_COMMAND]}"
        elif found[name][_CHROOT] != columns[_CHROOT]:
            yield f"master.cf: service {name} is chrooted, so it does not find the sockets of smtpeter"


def _named(config: Path, option: str) -> dict[str, str]:
    """Lines of the form `name = value`."""
    lines = (line.partition("=") for line in ask("-c", str(config), option).splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def _lines(config: Path, option: str) -> dict[str, list[str]]:
    """The services of master.cf: their columns by `name/type`."""
    rows = (line.split() for line in ask("-c", str(config), option).splitlines())
    return {f"{row[0]}/{row[1]}": row for row in rows if len(row) > _COMMAND}


def _shown(found: Mapping[str, str], name: str) -> str:
    return repr(found[name]) if name in found else "not set"


def _plain(value: str) -> str:
    """A value as Postfix reads a list."""
    return " ".join(value.replace(",", " ").split())
