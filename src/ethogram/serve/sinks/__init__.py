"""Sinks: where the live service sends alerts and changes of the inventory, one module a kind."""
