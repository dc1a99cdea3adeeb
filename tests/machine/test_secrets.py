"""What only root may see is nowhere else: not in logs, not in lists of processes, not in what Ansible prints."""

import pytest

pytestmark = pytest.mark.machine


def leaks(text: str, secrets: dict[str, str]) -> list[str]:
    """The names of the secrets that stand in a text."""
    return [name for name, secret in secrets.items() if secret in text]


def test_the_secrets_are_where_they_belong(deployed, every_secret) -> None:
    """Or the tests below would look for what is nowhere."""
    assert {"master key", "password of a login", "password of the canary", "key of the certificate"} < set(every_secret)
    places = "/etc/smtpeter/credentials /var/lib/smtpeter/master.key /var/lib/smtpeter/keys.ring"
    assert deployed.machine.run(f"stat -c '%a %U' {places}").stdout.splitlines() == ["700 root", "600 root", "600 root"]
    assert deployed.machine.run("base64 -w 0 /var/lib/smtpeter/master.key").stdout == every_secret["master key"]


def test_no_secret_in_what_ansible_prints(deployed, every_secret, second_run) -> None:
    assert len(deployed.first.output) > 100_000  # as talkative as it gets
    assert [name for run in deployed.runs for name in leaks(run.output, every_secret)] == []


def test_no_secret_in_the_list_of_processes_while_ansible_runs(second_run, process_watch) -> None:
    assert process_watch.looks > 10
    assert process_watch.seen == set()


def test_no_secret_in_the_list_of_processes(deployed, every_secret, make_process_watch) -> None:
    with make_process_watch(every_secret) as watch:
        deployed.machine.run("systemctl restart smtpeter.target")
        deployed.machine.run("systemctl start smtpeter-canary.service", timeout=180)
        listed = deployed.machine.run("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'", check=False).stdout
    assert "smtpeter" in listed
    assert leaks(listed, every_secret) == []
    assert watch.seen == set()


def test_no_secret_in_a_log(deployed, every_secret) -> None:
    journal = deployed.machine.run("journalctl --no-pager --all --output=export").stdout
    assert "smtpeter" in journal
    logs = deployed.machine.run("find /var/log -type f -not -path '*/journal/*' -exec cat {} +").stdout
    assert "postfix/" in logs
    assert leaks(journal, every_secret) == leaks(logs, every_secret) == []


def test_no_secret_in_a_file_that_others_may_read(deployed, every_secret) -> None:
    # By standard input: on a command line it would be in the list of processes.
    words = "".join(f"{secret}\n" for secret in every_secret.values())
    deployed.machine.run("umask 077; cat >/run/words", stdin=words)
    look = "find / /run /tmp /dev/shm -xdev -type f -perm -004 -print0 | xargs -0 grep -lFa -f /run/words"
    readable = deployed.machine.run(look, check=False, timeout=300).stdout.splitlines()
    control = deployed.machine.run("grep -lFa -f /run/words /run/words; rm /run/words").stdout
    assert (readable, control) == ([], "/run/words\n")
