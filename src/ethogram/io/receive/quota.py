"""Bounds that no single sender can use up: how many there may be in all, of one address, and of one prefix."""

from __future__ import annotations

from typing import NamedTuple

from ethogram.config import CollectSettings

__all__ = ["Quota"]


class Quota(NamedTuple):
    """Exporters, or connections, that there may be at once.

    Parameters
    ----------
    most
        In all.
    address
        Of one IPv4 address or IPv6 /64.
    prefix
        Of one IPv4 /24 or IPv6 /48.
    """

    most: int
    address: int
    prefix: int

    @classmethod
    def of(cls, most: int, settings: CollectSettings) -> Quota:
        """The shares of a bound, one at least.

        >>> Quota.of(256, CollectSettings())
        Quota(most=256, address=64, prefix=128)
        """
        return cls(most, max(1, int(most * settings.address_share)), max(1, int(most * settings.prefix_share)))
