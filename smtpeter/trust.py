"""Which certificates of servers are good, for what looks at them as clients do."""

import ssl
from pathlib import Path


def client_context(only: Path | None = None) -> ssl.SSLContext:
    """Trusts the authorities of the system, or those in a file and no others; the host name must be in the certificate.

    From Python 3.13 on the library also asks for what certificates of private authorities often lack, such as the key
    identifier of their issuer (RFC 5280 section 4.2.1.1). Clients do not, and whether links are tracked must not depend on
    the Python of the host. Raises OSError and ssl.SSLError for a file that cannot be read.
    """
    context = ssl.create_default_context(cafile=only and str(only))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
