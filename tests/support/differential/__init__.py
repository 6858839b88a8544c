"""The same bytes through streamlb, nginx and HAProxy, and what came of them."""
