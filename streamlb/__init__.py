"""streamlb: an L4/L7 proxy and load balancer for a bare VM, in Traefik's words.

The map of the rooms is in `docs/architecture.md`; nothing is imported here.
"""

__version__ = "0.1.0"
