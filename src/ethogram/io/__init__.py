"""Readers and writers of packets, flow records and export messages. They know neither devices nor labels."""
