"""Logs of DNS resolvers as passive DNS: one module per format. With flow exports they are often the only names."""
