"""What runs for as long as the network does: the live collector."""
