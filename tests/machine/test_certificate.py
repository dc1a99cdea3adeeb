"""A certificate that was renewed counts for new sessions; those that are open go on."""

import ssl
from pathlib import Path

import pytest

pytestmark = pytest.mark.machine


def test_a_renewed_certificate_drops_no_session(deployed, login, authority) -> None:
    certificate, key = authority.issue(deployed.variables["smtpeter_hostname"], deployed.machine.address)
    with deployed.client(login) as open_before, deployed.client(login) as in_the_middle:
        assert in_the_middle.docmd("MAIL FROM:<news@example.com>")[0] == 250
        assert in_the_middle.docmd("RCPT TO:<reader@example.net>")[0] == 250
        deployed.variables |= {"smtpeter_tls_certificate": str(certificate), "smtpeter_tls_key": str(key)}
        played = deployed.play()
        assert played.passed, played.ended()
        assert played.changed > 0
        wanted = ssl.PEM_cert_to_DER_cert(Path(certificate).read_text())
        with deployed.client(login) as fresh, deployed.client(login, 465) as wrapped:
            assert fresh.sock.getpeercert(binary_form=True) == wrapped.sock.getpeercert(binary_form=True) == wanted
        assert open_before.sock.getpeercert(binary_form=True) != wanted
        for session in (open_before, in_the_middle):
            mark, message = deployed.message()
            if session is open_before:
                session.sendmail("news@example.com", ["reader@example.net"], message)
            else:
                assert session.data(message)[0] == 250
            deployed.left(mark)
