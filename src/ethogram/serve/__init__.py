"""Long-running services: the live collector."""
