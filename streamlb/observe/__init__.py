"""Observation: the programme log, the access log, and the facts behind its lines."""
