"""The loops: everything that waits. Knows ports only."""
