"""What is wrong with an export, why, and what mends it: the page of remedies, and the remedy of each loss."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REMEDIES", "Remedy", "remedy_of"]


class Remedy(NamedTuple):
    """One trouble of exporters or collector.

    Parameters
    ----------
    id
        Anchor on the page.
    title, cause, remedy
        What is seen, why, and what mends it.
    counted
        Places and parts of reasons of the losses that it explains.
    """

    id: str
    title: str
    cause: str
    remedy: str
    counted: tuple[tuple[str, str], ...] = ()


REMEDIES = (
    Remedy(
        "nothing-arrives", "No message arrives",
        "The exporter sends nothing or sends it elsewhere, a firewall drops it, or the collector listens at 127.0.0.1.",
        "Start with --listen udp://0.0.0.0:4739 and open the port. Run 'tcpdump -n udp port 4739' on this machine: if "
        "it shows nothing, check destination, source interface and routing of the exporter.",
    ),
    Remedy(
        "no-template", "Data comes before its template",
        "Templates describe records. They come at intervals, so the first minutes after a start have none; something "
        "that forwards only a part of an export never sends them.",
        "Set the template refresh of the exporter to 60 s, and let it export to this collector directly.",
        (("sets", "template"), ("sets", "while waiting"), ("sequence", "not counted"), ("identity", "sub-template")),
    ),
    Remedy(
        "lost-on-the-way", "Messages are lost between exporter and collector",
        "The network drops them, or fragments of them.",
        "Export over TCP, use a closer collector, or export less. Make messages fit the MTU of the path.",
        (("sequence", ""),),
    ),
    Remedy(
        "receive-buffer", "The receive buffer is full",
        "The kernel keeps few datagrams, and this process was not given the CPU in time.",
        "Raise net.core.rmem_max, or give the machine more CPU.",
        (("datagrams", "socket"),),
    ),
    Remedy(
        "queue", "More arrives than can be decoded",
        "Decoding was slower than arrival for longer than the queue lasts.",
        "Export from fewer interfaces, enlarge the queue (setting receive.queue_octets), or use a faster machine.",
        (("datagrams", "queue"), ("connections", "queue")),
    ),
    Remedy(
        "sender-refused", "A sender is refused",
        "It is not in the setting allow, sends more than the rate limit, or there are more senders than the limits "
        "permit; forged senders look like this.",
        "Add the prefix of the exporter to allow, or raise the limit that the reason names.",
        (("", "not allowed"), ("", "rate limit"), ("", "too many exporters")),
    ),
    Remedy(
        "other-protocol", "Something else than NetFlow or IPFIX arrives",
        "sFlow and other protocols use the same ports.",
        "Switch the exporter to IPFIX or NetFlow v9.",
        (("messages", "version"), ("connections", "version")),
    ),
    Remedy(
        "messages-cut", "Messages are cut short or malformed",
        "The exporter sends messages that are larger than the path carries, or something on the way cuts them.",
        "Lower the message size of the exporter. If only one exporter is affected, update its software.",
        (("datagrams", "truncated"), ("messages", ""), ("sets", "length"), ("sets", "longer than"),
         ("sets", "short records"), ("records", "longer than")),
    ),
    Remedy(
        "clock", "The clock of the exporter is wrong",
        "Flows end long before or after they arrive: the clock is off, or local time is sent as UTC.",
        "Switch NTP on at the exporter, and set its time zone.",
        (("fingerprints", "late"), ("fingerprints", "ahead"), ("", "clock")),
    ),
    Remedy(
        "implausible-counters", "Counters are not plausible",
        "Some exporters write the largest number for what they do not know.",
        "Nothing is lost that could be used. If it happens often, update the software of the exporter.",
        (("biflows", "implausible"),),
    ),
    Remedy(
        "bounds", "A bound of memory was reached",
        "There are more devices, services or names than the limits permit; scans and forged addresses look like this.",
        "Raise the limit that the reason names, if your network is that large.",
        (("", "over the bound"), ("", "beyond the bound"), ("", "no room to wait")),
    ),
    Remedy(
        "disk", "Flows cannot be written",
        "The disk is full, or the data folder may not be written.",
        "Make room, or shorten the retention of flows (setting retention.flow_days). What waits is written then.",
        (("recording", "written"), ("output", "written")),
    ),
    Remedy(
        "sampling", "Devices are missing, or seem to use few services",
        "Sampled flows miss quiet devices; an export behind address translation shows one device that does everything.",
        "Switch sampling off. Export at the interface that faces the devices, in both directions.",
        (("", "sampl"),),
    ),
)  # fmt: skip
"""In the order of the way from exporter to counts."""


def remedy_of(place: str, reason: str) -> Remedy | None:
    """The remedy of a loss; None if it needs none or is not known.

    >>> remedy_of("sets", "waiting for a template").id, remedy_of("sequence", "gap").id
    ('no-template', 'lost-on-the-way')
    """
    return next(
        (each for each in REMEDIES for where, part in each.counted if where in ("", place) and part in reason), None
    )
