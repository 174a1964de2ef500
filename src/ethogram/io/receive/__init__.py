"""Receive export messages over UDP, TCP and TLS, independently of decoding and disk."""
