"""The shipped rules in miniature: members without loops and records without bytes, many worlds a second."""
