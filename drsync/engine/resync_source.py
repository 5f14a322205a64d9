"""The source of resync sessions: reads blocks of what is committed, sends them and the redo, ends the session."""

from drsync.engine.resync_marks import Marks, PlainMarks

__all__ = ["Marks", "PlainMarks"]
