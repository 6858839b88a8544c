"""What the control process shows of itself, and how it is steered, over HTTP on Unix sockets."""
