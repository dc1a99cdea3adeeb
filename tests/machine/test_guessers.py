"""Who goes on guessing passwords is shut out at the firewall of a deployed host, and only who does."""

import json
import shlex

import pytest

pytestmark = pytest.mark.machine

GUESSES = 42  # the jail lets 29 pass
# Runs on a machine that has nothing but Python. Says what each guess was told.
GUESS = """
import json, smtplib, ssl, sys
from concurrent.futures import ThreadPoolExecutor
host, name, guesses = sys.argv[1], sys.argv[2], int(sys.argv[3])
trust = ssl.create_default_context()
trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE

def guess(number):
    try:
        with smtplib.SMTP_SSL(host, 465, context=trust, timeout=15) as client:
            client.login(name, f"guess {number}")
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (OSError, smtplib.SMTPException) as error:
        return type(error).__name__

with ThreadPoolExecutor(12) as pool:
    print(json.dumps(list(pool.map(guess, range(guesses)))))
"""


@pytest.fixture
def guesser(ground):
    """Another machine, with an address of its own."""
    if ground.network.shared:
        pytest.skip("machines have one address here, the host's, and no firewall")
    machine = ground.machine("guesser")
    yield machine
    machine.close()


def test_a_guesser_is_shut_out_and_the_owner_is_not(deployed, login, guesser, until) -> None:
    words = ("python3", "-", deployed.machine.address, login.name, str(GUESSES))
    told = json.loads(guesser.run(shlex.join(words), stdin=GUESS, timeout=600).stdout)
    assert 535 in told
    banned = f"fail2ban-client get smtpeter banip | grep -qxF {guesser.address}"
    until(lambda: deployed.machine.run(banned, check=False).returncode == 0, "the firewall knows the guesser", 30)
    told = json.loads(guesser.run(shlex.join((*words[:-1], "1")), stdin=GUESS, timeout=60).stdout)
    assert told != [535]
    assert isinstance(told[0], str), told  # the connection, not the login, is refused
    with deployed.client(login) as owner:
        assert owner.noop()[0] == 250
