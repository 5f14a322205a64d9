"""Crash at every boundary: each procedure in a small quiet world, with a death at every step that lasts."""
