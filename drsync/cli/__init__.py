"""The command line: one file per family of commands, loaded when it is used. Parsing, asking, showing."""
