"""Names of link types, for messages about captures that cannot be read.

Numbers: https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

__all__ = ["MOST", "link_type_reason"]

MOST = 511
"""Link types from this number on share one counter."""

_NAMES = {
    3: "AX.25", 6: "token ring", 7: "ARCNET", 8: "SLIP", 10: "FDDI", 100: "RFC 1483 ATM", 107: "frame relay",
    109: "OpenBSD encapsulated IP", 114: "LocalTalk", 117: "OpenBSD pflog", 119: "802.11 with Prism header",
    122: "IP over Fibre Channel", 123: "SunATM", 129: "ARCNET Linux", 138: "IP over IEEE 1394", 139: "MTP2 with header",
    140: "MTP2", 141: "MTP3", 142: "SCCP", 143: "DOCSIS", 144: "Linux IrDA", 147: "private use 0",
    148: "private use 1", 149: "private use 2", 150: "private use 3", 151: "private use 4", 152: "private use 5",
    153: "private use 6", 154: "private use 7", 155: "private use 8", 156: "private use 9", 157: "private use 10",
    158: "private use 11", 159: "private use 12", 160: "private use 13", 161: "private use 14", 162: "private use 15",
    163: "802.11 with AVS header", 165: "BACnet MS/TP", 166: "Linux PPP daemon", 169: "GPRS LLC", 177: "Linux LAPD",
    187: "Bluetooth HCI H4", 189: "Linux USB", 192: "PPI", 195: "IEEE 802.15.4 with FCS", 196: "SITA",
    197: "Endace ERF",
    201: "Bluetooth HCI H4 with direction", 202: "AX.25 with KISS", 203: "LAPD", 204: "PPP with direction",
    205: "Cisco HDLC with direction", 206: "frame relay with direction", 209: "Linux IPMB", 210: "FlexRay", 212: "LIN",
    215: "IEEE 802.15.4 non-ASK PHY", 220: "Linux USB with padding", 224: "Fibre Channel FC-2",
    225: "Fibre Channel FC-2 with delimiters", 226: "Solaris ipnet", 227: "CAN socket",
    230: "IEEE 802.15.4 without FCS",
    231: "D-Bus", 235: "DVB-CI", 236: "MUX27010", 237: "STANAG 5066", 239: "NFLOG", 240: "netANALYZER",
    241: "netANALYZER transparent", 242: "IP over InfiniBand", 243: "MPEG-2 transport stream", 244: "NG4T",
    245: "NFC LLCP", 247: "InfiniBand", 248: "SCTP", 249: "USBPcap", 250: "RTAC serial", 251: "Bluetooth LE",
    253: "Netlink", 254: "Bluetooth Linux monitor", 255: "Bluetooth BR/EDR baseband", 256: "Bluetooth LE with PHY",
    257: "PROFIBUS", 258: "Apple pktap", 259: "EPON", 260: "IPMI HPM.2", 261: "Z-Wave R1/R2", 262: "Z-Wave R3",
    263: "Wattstopper DLM", 264: "ISO 14443", 265: "RDS", 266: "USB Darwin", 268: "SDLC", 270: "LoRaTap", 271: "vsock",
    272: "Nordic BLE sniffer", 273: "DOCSIS 3.1 with header", 274: "Ethernet mPacket", 275: "DisplayPort AUX",
    277: "serial", 278: "OpenVizsla", 279: "Elektrobit", 280: "VPP trace", 281: "Broadcom switch tag",
    282: "Broadcom switch tag, prepended", 283: "IEEE 802.15.4 TAP", 284: "Marvell DSA", 285: "Marvell EDSA",
    286: "lawful interception", 287: "ZigBee ISI", 288: "USB 2.0", 289: "ATSC ALP", 290: "Windows event tracing",
}  # fmt: skip


def link_type_reason(number: int) -> str:
    """Reason for ignoring packets of a link type.

    >>> link_type_reason(239), link_type_reason(400)
    ('link type 239 (NFLOG)', 'link type 400')
    """
    if number >= MOST:
        return f"link type {MOST} or higher"
    return f"link type {number} ({_NAMES[number]})" if number in _NAMES else f"link type {number}"
