"""Export messages (NetFlow v5, v9 and IPFIX): how they are found, decoded to columns, and written."""
