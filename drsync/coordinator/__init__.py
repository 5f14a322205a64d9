"""The coordinator: watches, decides, runs procedures, keeps evidence."""
