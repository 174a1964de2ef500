"""Limits that a single sender cannot exhaust: in total, per address, and per prefix."""

from __future__ import annotations

from typing import NamedTuple

from ethogram.config import CollectSettings

__all__ = ["Quota"]


class Quota(NamedTuple):
    """Maximum number of exporters or connections.

    Parameters
    ----------
    most
        In total.
    address
        Per IPv4 address or IPv6 /64.
    prefix
        Per IPv4 /24 or IPv6 /48.
    """

    most: int
    address: int
    prefix: int

    @classmethod
    def of(cls, most: int, settings: CollectSettings) -> Quota:
        """Derive the shares of a limit, at least one.

        >>> Quota.of(256, CollectSettings())
        Quota(most=256, address=64, prefix=128)
        """
        return cls(most, max(1, int(most * settings.address_share)), max(1, int(most * settings.prefix_share)))
