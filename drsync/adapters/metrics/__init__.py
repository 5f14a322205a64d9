"""Metrics for Prometheus: what there is (`catalog`), how it is read (`reading`) and served (`server`)."""
