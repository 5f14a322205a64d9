"""Years of failures and repairs on paper: how available a group is, and what would make it more so."""
