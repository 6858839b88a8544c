"""The example server of the demo and the tests; no part of the proxy."""
