"""Bytes to messages and back: frames, limits, versions. No sockets."""
