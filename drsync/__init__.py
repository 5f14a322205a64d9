"""drsync: disaster recovery and replication for two sites and three centers."""
