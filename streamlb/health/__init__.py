"""Health: probes in the control process, and what workers make of them and of their clients' requests."""
