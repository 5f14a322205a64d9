"""The coordinator's HTTP interface from the other side: for commands and for the lab."""
