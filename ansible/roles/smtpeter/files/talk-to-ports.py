"""Talks to ports 25, 587 and 465 as a client does, and says what is not as it must be.

    talk-to-ports.py CERTIFICATE ADDRESS

Each has TLS with the certificate of that file; without TLS there is no AUTH, without AUTH no recipient.
"""

import smtplib
import ssl
import sys
from pathlib import Path

SECONDS = 30


def complaints(port, certificate, address):
    """What is wrong with one port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is compared with the file octet by octet; a self-signed one is fine.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if port == 465:
        client = smtplib.SMTP_SSL(address, port, timeout=SECONDS, context=context)
    else:
        client = smtplib.SMTP(address, port, timeout=SECONDS)
    with client:
        if port != 465:
            client.ehlo()
            if client.has_extn("auth"):
                yield "AUTH is offered without TLS"
            code, text = client.docmd("MAIL", "FROM:<>")
            if code != 530:
                yield f"MAIL without TLS is answered {code} {text.decode()} instead of 530"
            client.starttls(context=context)
        client.ehlo()
        if client.sock.getpeercert(binary_form=True) != certificate:
            yield "another certificate is shown than the one in place"
        if not client.has_extn("auth"):
            yield "AUTH is not offered"
        # Whichever of the two is refused first.
        code, text = client.docmd("MAIL", "FROM:<>")
        if code == 250:
            code, text = client.docmd("RCPT", "TO:<nobody@example.com>")
        if code != 530:
            yield f"mail without AUTH is answered {code} {text.decode()} instead of 530"


def main():
    """Prints every complaint; the exit status is 1 where there is one."""
    path, address = sys.argv[1:]
    text = Path(path).read_text()
    first = text[: text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
    certificate = ssl.PEM_cert_to_DER_cert(first[first.index(ssl.PEM_HEADER) :])
    found = []
    for port in (25, 587, 465):
        try:
            found += [f"port {port}: {complaint}" for complaint in complaints(port, certificate, address)]
        except (OSError, smtplib.SMTPException) as error:
            found.append(f"port {port}: {error}")
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
