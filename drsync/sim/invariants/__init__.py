"""What must never happen, looked at from outside. One noun per file; `watch` looks at all of them."""

from drsync.sim.invariants.watch import Watch

__all__ = ["Watch"]
