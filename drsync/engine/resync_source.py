"""The source of resync sessions: what it sends, and when."""

from drsync.engine.resync_marks import Marks, PlainMarks

__all__ = ["Marks", "PlainMarks"]
