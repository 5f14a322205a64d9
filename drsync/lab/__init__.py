"""Three centers on one machine: the same daemons, real processes and sockets."""
