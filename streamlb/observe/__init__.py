"""Observation: the program log (later access log and metrics)."""
