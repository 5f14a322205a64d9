"""Decisions, one file each. Pure: time and chance are arguments, effects are data."""
