"""Export messages from the network: UDP, TCP and TLS sockets, whose readers never wait for decoding or disk."""
