"""`smtpeter check`: is everything in place for mail to flow, and if not, what to do."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from journal.rings import Rings, differences, prints
from policy.account import State
from policy.domains import InvalidKey, read_private_key, unseal_private_key
from policy.stores import StoreUnavailable
from policy.stores.engine import database_file
from smtpeter import certificate, database, host_postfix, wiring
from smtpeter.cli import settings_of
from smtpeter.commands.up import postfix_for
from smtpeter.directory import open_directory
from smtpeter.errors import UserError
from smtpeter.output import AsJson, print_rows
from smtpeter.postfix import complaints
from smtpeter.postfix import version as postfix_version
from smtpeter.process import start_log
from smtpeter.same_ring import STALE
from smtpeter.settings import Settings

EXPIRES_SOON = timedelta(days=21)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `status` is ok, warning or error; `advice` says what to do."""

    what: str
    status: str
    advice: str


def ok(what: str, detail: str = "") -> Finding:
    """All is well."""
    return Finding(what=what, status="ok", advice=detail)


def warning(what: str, advice: str) -> Finding:
    """Mail flows, but somebody should look."""
    return Finding(what=what, status="warning", advice=advice)


def error(what: str, advice: str) -> Finding:
    """Mail does not flow as it should."""
    return Finding(what=what, status="error", advice=advice)


def check(
    context: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", help="Send messages through the running service instead, and follow their links.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="With --live: follow the link by its public host.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check settings, database, keys, certificate and Postfix; exit status 1 where something is wrong."""
    settings = settings_of(context)
    if live:
        check_live(settings, public=public, as_json=as_json)
        return
    findings = [ok("settings", f"data in {settings.data}")]
    for what, look in CHECKS.items():
        try:
            findings += look(settings)
        except UserError as trouble:
            findings.append(error(what, str(trouble)))
    rows = [{"what": finding.what, "status": finding.status, "advice": finding.advice} for finding in findings]
    print_rows(rows, ("what", "status", "advice"), as_json=as_json, empty="")
    if any(finding.status == "error" for finding in findings):
        raise typer.Exit(1)


def check_live(settings: Settings, *, public: bool, as_json: bool) -> None:
    """What `check --live` prints; exit status 1 where something is wrong."""
    # Here, so that the other checks need no server for LMTP in their memory.
    from smtpeter import live

    start_log()
    rows = [asdict(found) for found in live.run(settings, public=public)]
    print_rows(rows, ("what", "status", "seconds", "advice"), as_json=as_json, empty="")
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


def check_logins(settings: Settings) -> Iterator[Finding]:
    """The database opens, every password hash is one, and somebody may send."""
    store = database.open_database(settings)
    accounts = {account.name: account for account in store.accounts()}
    logins = store.logins()
    yield ok("database", f"{len(accounts)} accounts, {len(logins)} logins, {len(store.domains())} sender domains")
    for login in logins:
        try:
            for password in login.passwords:
                extract_parameters(password.hash)
        except InvalidHashError:
            yield error("logins", f"the password hash of login {login.name} is damaged; `smtpeter login rotate {login.name}`")
    usable = any(login.enabled and accounts[login.account].state is State.APPROVED for login in logins)
    if not usable and not settings.directory.urls:
        advice = "nobody can send yet: `smtpeter account add NAME --approve`, then `smtpeter login add --account NAME`"
        yield warning("logins", advice)


def check_directory(settings: Settings) -> Iterator[Finding]:
    """Every server of the directory answers and shows logins, and their accounts are in the database."""
    found = settings.directory
    for url in found.urls:
        alone = settings.model_copy(update={"directory": found.model_copy(update={"urls": (url,)})})
        try:
            count = open_directory(alone).count()
        except StoreUnavailable as trouble:
            yield error("directory", str(trouble))
            continue
        if count:
            yield ok("directory", f"{url}: " + (f"{count} logins" if found.layout == "smtpeter" else "people are found"))
        else:
            yield warning("directory", f"{url}: there is no login below {found.base}")
    if found.urls and found.layout == "smtpeter":
        with suppress(StoreUnavailable):  # told above
            accounts = {account.name for account in database.open_database(settings).accounts()}
            for login in open_directory(settings).logins():
                if login.account not in accounts:
                    yield error("directory", f"login {login.name} is of the account {login.account}, which is not there")


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Every private DKIM key opens under the master key and is the other half of what is published."""
    store = database.open_store(settings)
    master = wiring.master_key(settings)
    count = 0
    for account in store.accounts():
        for key in store.signing_keys(account.name):
            count += 1
            try:
                algorithm, public, _ = read_private_key(unseal_private_key(master, key))
            except InvalidKey as trouble:
                yield error("keys", f"{trouble}; put the right master key back, or remove and add the domain {key.domain}")
                continue
            if (algorithm, public) != (key.algorithm, key.public):
                yield error("keys", f"key {key.selector} of {key.domain} does not match its public half; add the domain again")
    mode = settings.master_key_file.stat().st_mode & 0o777
    if mode & 0o077:
        yield error("keys", f"others can read {settings.master_key_file}; `chmod 600 {settings.master_key_file}`")
    yield ok("keys", f"{count} DKIM keys")


def check_ring(settings: Settings) -> Iterator[Finding]:
    """The other hosts of a shared journal have the same key ring."""
    own = prints(wiring.ring_file(settings).current())
    if database_file(settings.journal_url) is not None:
        yield ok("key ring", f"{len(own)} keys")
        return
    try:
        others = Rings(settings.journal_url).others(settings.hostname, int(time.time()) - STALE)
    except StoreUnavailable as trouble:
        raise UserError(str(trouble)) from trouble
    found = list(differences(own, others))
    for line in found:
        yield error("key ring", f"{line}; copy {settings.ring_file} of one host to all of them")
    if not found:
        yield ok("key ring", f"{len(own)} keys, and {len(others)} other hosts have the same")


def check_certificate(settings: Settings) -> Iterator[Finding]:
    """The certificate is there, valid, for this host, and its key is the right one."""
    path = settings.certificate
    if settings.tls.certificate is None and not path.exists():
        yield warning("certificate", "none yet; `smtpeter up` makes a self-signed one")
        return
    found = certificate.describe(path, settings.certificate_key)
    left = found.not_after - datetime.now(UTC)
    until = f"{found.not_after:%Y-%m-%d}"
    if not found.matches_key:
        yield error("certificate", f"{settings.certificate_key} is not the key of {path}; set tls.key to the right file")
    if left < timedelta():
        yield error("certificate", f"{path} expired on {until}; renew it")
    elif left < EXPIRES_SOON:
        yield warning("certificate", f"{path} expires on {until}; renew it")
    if settings.hostname not in found.names:
        yield warning(
            "certificate", f"{path} is for {', '.join(found.names)}, not for {settings.hostname}; clients will complain"
        )
    if found.self_signed:
        yield warning("certificate", "it is self-signed: clients ask before they trust it; set tls.certificate and tls.key")
    else:
        yield ok("certificate", f"valid until {until}")


def check_postfix(settings: Settings) -> Iterator[Finding]:
    """Postfix is installed and says nothing against its configuration; one of the host's own runs and is set as it must be."""
    yield ok("postfix", f"version {postfix_version()}")
    config = settings.postfix.config
    if config is None:
        instance = postfix_for(settings)
        if not instance.config.exists():
            yield warning("postfix", "not configured yet; `smtpeter up` does it")
            return
        for complaint in instance.check():
            yield error("postfix", complaint)
        return
    for complaint in complaints(config, settings.postfix.log or config):
        yield error("postfix", complaint)
    for difference in host_postfix.differences(settings, config):
        yield warning("postfix", difference)
    if not host_postfix.running(config):
        yield error("postfix", f"the Postfix of {config} does not run; `systemctl start postfix`")


CHECKS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "database": check_logins,
    "directory": check_directory,
    "keys": check_keys,
    "key ring": check_ring,
    "certificate": check_certificate,
    "postfix": check_postfix,
}
