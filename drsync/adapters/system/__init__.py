"""The real clock and dice."""
