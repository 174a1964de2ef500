"""Third-party encoders behind one interface: one adapter per file, which builds the encoder's native input."""

from ethogram.third_party_encoders.interface import ADAPTERS, Facts, PacketEncoder, adapter

__all__ = ["ADAPTERS", "Facts", "PacketEncoder", "adapter"]
