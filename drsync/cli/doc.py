"""JSON from the coordinator, read with care: see `drsync.adapters.api_client.doc`."""

from drsync.adapters.api_client.doc import Doc, Json

__all__ = ["Doc", "Json"]
