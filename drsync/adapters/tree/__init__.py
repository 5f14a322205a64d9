"""A directory tree on Linux, looked at and changed through held handles."""
