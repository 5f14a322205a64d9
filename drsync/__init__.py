"""drsync: disaster recovery and replication for two sites and three centers."""

__version__ = "0.1.0.dev0"
