"""The engines: what moves bytes between downstream and upstream."""
