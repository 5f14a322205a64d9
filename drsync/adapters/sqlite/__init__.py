"""The charter store in SQLite."""
