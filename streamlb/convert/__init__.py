"""Configurations of other proxies as ours: the useful part of them, and a list of all the rest."""
