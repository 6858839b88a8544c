"""Runtime: the model compiled into a swappable world. Pure."""
