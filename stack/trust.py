"""How programs on this host trust the certificate of the stack's own web services."""

import ssl


def certificate_alone(file: str) -> ssl.SSLContext:
    """Trusts what the stack's certificate file holds and nothing else, whatever the name that a service is reached by.

    A site's certificate stands for itself there: this host has it, and need not know the site's authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(file)
    return context
