"""Running programs: argv lists, a deadline, a reduced environment."""
