"""Routing: the rule language, its matchers and the router tables. Pure."""
