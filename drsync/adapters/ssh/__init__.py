"""The transport: asyncssh, one subsystem, pinned keys."""
