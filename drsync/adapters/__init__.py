"""The world: files, sockets, clocks, libraries. Adapters do not know each other."""
