"""Configuration: YAML text to a validated model. Pure, but for load.py, which reads files."""
