"""Sessions: the life of one TCP, HTTP or UDP conversation as an automaton. Pure."""
