"""The agent: composition root of a center's daemon."""
