"""What devices say of themselves in packets: one module per protocol, each a parser of single messages."""
