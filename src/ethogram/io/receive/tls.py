"""TLS settings of a collector, and reasons of failed handshakes."""

from __future__ import annotations

import ssl
from pathlib import Path

from ethogram.errors import ConfigurationError

__all__ = ["handshake_fault", "tls_context"]

NO_HANDSHAKE, BROKEN_OFF = "no TLS handshake", "broken off in the TLS handshake"
CERTIFICATE = "client certificate refused"


def tls_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """TLS settings of a collector: version 1.2 or later.

    Parameters
    ----------
    certificate, key
        Of the collector, PEM; without a key, the certificate file contains it.
    client_ca
        Authorities that must have signed the certificates of exporters (RFC 7011 section 11.1 requires mutual
        authentication).

    Raises
    ------
    ConfigurationError
        If a file cannot be read or does not match the others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in (certificate, key, client_ca):
        if file is not None and not file.is_file():
            raise ConfigurationError(f"{file}: no such file")
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(f"{certificate}: not a PEM file with a certificate and its private key") from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError):
            raise ConfigurationError(f"{client_ca}: not a PEM file of certificates") from None
    return context


def handshake_fault(error: OSError | ValueError) -> str:
    """The reason under which a failed handshake is counted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CERTIFICATE
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return BROKEN_OFF
    if isinstance(error, ssl.SSLError):
        refused = getattr(error, "reason", None) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        return CERTIFICATE if refused else NO_HANDSHAKE
    return BROKEN_OFF if isinstance(error, OSError) else NO_HANDSHAKE
