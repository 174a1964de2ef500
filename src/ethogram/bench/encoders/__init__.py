"""Encoders of others behind one interface: one adapter per file, each fed its own native input from packets."""

from ethogram.bench.encoders.interface import ADAPTERS, Facts, PacketEncoder, adapter

__all__ = ["ADAPTERS", "Facts", "PacketEncoder", "adapter"]
