"""Biflows to the flow table: whose flow it is, which side serves, where the remote is, what it is called."""
