"""`python -m drsync.cli`: the same as `drsync`."""

from drsync.cli.main import main

main()
