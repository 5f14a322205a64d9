"""``python -m tests.chaos.toxiproxy --port 8474``: a small server that speaks Toxiproxy's HTTP API."""

from tests.chaos.toxiproxy.server import main

main()
