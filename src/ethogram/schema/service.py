"""Names of services: TCP/443, UDP/53, TCP/dyn, IP/2."""

from __future__ import annotations

__all__ = ["DYNAMIC_FROM", "ICMP", "ICMPV6", "IGMP", "TCP", "UDP", "service_name"]

ICMP, IGMP, TCP, UDP, ICMPV6 = 1, 2, 6, 17, 58

DYNAMIC_FROM = 49152
"""First port of the dynamic range (RFC 6335 section 6)."""


def service_name(protocol: int, port: int, dynamic_from: int = DYNAMIC_FROM) -> str:
    """Name of a service.

    >>> service_name(6, 443), service_name(17, 53), service_name(6, 50000), service_name(2, 0)
    ('TCP/443', 'UDP/53', 'TCP/dyn', 'IP/2')
    """
    if protocol not in (TCP, UDP):
        return f"IP/{protocol}"
    name = "TCP" if protocol == TCP else "UDP"
    return f"{name}/dyn" if port >= dynamic_from else f"{name}/{port}"
