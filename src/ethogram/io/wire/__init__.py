"""Decode and build export messages (NetFlow v5, v9 and IPFIX)."""
