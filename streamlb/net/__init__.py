"""The kernel's edge: addresses, listeners, dialling, splice, datagrams. No proxy knowledge."""
