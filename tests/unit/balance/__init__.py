"""Tests of the room `balance`."""
