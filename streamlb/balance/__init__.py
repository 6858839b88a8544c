"""Balancing: the one service tree for HTTP, TCP and UDP; who gets this one? Pure."""
