"""What `scripts/bench` is made of. Nothing in streamlb imports it; it needs Python's standard library only."""
