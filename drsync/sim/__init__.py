"""The seeded world: the shipped decisions under faults, with checkers and mutants."""
