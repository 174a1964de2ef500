"""Services in the words of a network engineer: UDP/5353 is mDNS, IP/2 is IGMP."""

from __future__ import annotations

__all__ = ["GROUP_WORDS", "LOCAL", "SERVICE_WORDS", "service_words"]

SERVICE_WORDS = {
    "IP/1": "pings", "IP/2": "IGMP", "IP/41": "IPv6 in IPv4", "IP/47": "GRE", "IP/50": "IPsec", "IP/58": "ICMPv6",
    "IP/103": "PIM", "IP/112": "VRRP", "IP/132": "SCTP",
    "TCP/20": "FTP data", "TCP/21": "FTP", "TCP/22": "SSH", "TCP/23": "Telnet", "TCP/25": "SMTP", "TCP/53": "DNS",
    "TCP/80": "HTTP", "TCP/110": "POP3", "TCP/139": "NetBIOS sessions", "TCP/143": "IMAP", "TCP/179": "BGP",
    "TCP/389": "LDAP", "TCP/443": "HTTPS", "TCP/445": "SMB", "TCP/465": "SMTP over TLS", "TCP/515": "LPD printing",
    "TCP/548": "AFP", "TCP/554": "RTSP", "TCP/587": "mail submission", "TCP/631": "IPP printing",
    "TCP/853": "DNS over TLS", "TCP/993": "IMAP over TLS", "TCP/995": "POP3 over TLS", "TCP/1400": "Sonos control",
    "TCP/1723": "PPTP", "TCP/1883": "MQTT", "TCP/1935": "RTMP", "TCP/2049": "NFS", "TCP/3306": "MySQL",
    "TCP/3389": "RDP", "TCP/4070": "Spotify", "TCP/5222": "XMPP", "TCP/5228": "Google push",
    "TCP/5223": "Apple push", "TCP/5432": "PostgreSQL", "TCP/5671": "AMQP over TLS", "TCP/5672": "AMQP",
    "TCP/5900": "VNC", "TCP/6667": "IRC", "TCP/8008": "Cast set-up", "TCP/8009": "Cast", "TCP/8554": "RTSP",
    "TCP/8883": "MQTT over TLS", "TCP/9100": "raw printing",
    "UDP/53": "DNS", "UDP/67": "DHCP", "UDP/68": "DHCP", "UDP/69": "TFTP", "UDP/123": "NTP", "UDP/137": "NetBIOS names",
    "UDP/138": "NetBIOS datagrams", "UDP/161": "SNMP", "UDP/162": "SNMP traps", "UDP/443": "QUIC", "UDP/500": "IKE",
    "UDP/514": "syslog", "UDP/546": "DHCPv6", "UDP/547": "DHCPv6", "UDP/853": "DNS over QUIC", "UDP/1194": "OpenVPN",
    "UDP/1701": "L2TP", "UDP/1812": "RADIUS", "UDP/1900": "SSDP", "UDP/3478": "STUN", "UDP/3702": "WS-Discovery",
    "UDP/4500": "IPsec through NAT", "UDP/5060": "SIP", "UDP/5353": "mDNS", "UDP/5355": "LLMNR", "UDP/5683": "CoAP",
    "UDP/5684": "CoAP over DTLS", "UDP/51820": "WireGuard",
    "TCP/dyn": "dynamic TCP ports", "UDP/dyn": "dynamic UDP ports",
}  # fmt: skip
"""Words by protocol and port, as users write them (IANA Service Name and Port Number Registry, Protocol Numbers); a few
ports that the registry assigns otherwise are named for their main use."""

GROUP_WORDS = {
    "224.0.0.1": "all hosts", "ff02::1": "all hosts", "224.0.0.2": "all routers", "ff02::2": "all routers",
    "224.0.0.22": "", "ff02::16": "",
    "224.0.0.251": "mDNS", "ff02::fb": "mDNS", "224.0.0.252": "LLMNR", "ff02::1:3": "LLMNR",
    "239.255.255.250": "SSDP", "ff02::c": "SSDP", "ff05::c": "SSDP", "255.255.255.255": "",
}  # fmt: skip
"""What a multicast group is for (IANA multicast address registries); empty for reports of memberships and broadcast."""

LOCAL = frozenset({"DHCP", "DHCPv6", "IGMP", "LLMNR", "NetBIOS names", "SSDP", "WS-Discovery", "mDNS"})
"""Services that stay on the local network, so that their scope need not be stated."""


def service_words(service: str) -> str:
    """Words for a service without its role, scope and name; the service itself if it has none.

    >>> [service_words(service) for service in ("UDP/5353", "IP/2", "TCP/10001", "IP/99")]
    ['mDNS', 'IGMP', 'TCP/10001', 'IP/99']
    """
    return SERVICE_WORDS.get(service, service)
