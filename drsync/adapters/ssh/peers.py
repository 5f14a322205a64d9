"""Who may talk to us, and as whom: the pinned keys of every peer. Identity is a key, nothing else (P65)."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncssh

from drsync.adapters.ssh import keys
from drsync.model.errors import RefusedError, UsageError


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """How a peer is reached and known.

    Attributes:
        address: host and port it listens on; None when it is never dialed.
        host_key: pinned public key of its listener; empty when it is never dialed.
        client_key: pinned public key it dials with; empty when it never dials us.
    """

    address: tuple[str, int] | None
    host_key: str
    client_key: str = ""


class PeerBook:
    """Pins, parsed once.

    Raises:
        UsageError: a pin is no ed25519 key, or two peers share a client key.
    """

    def __init__(self, peers: Mapping[str, PeerKeys]) -> None:
        self._addresses = {name: peer.address for name, peer in peers.items()}
        self._host_keys = {
            name: keys.pin(peer.host_key, f"{name} (host key)")
            for name, peer in peers.items()
            if peer.host_key
        }
        self._client_keys = {
            name: keys.pin(peer.client_key, f"{name} (client key)")
            for name, peer in peers.items()
            if peer.client_key
        }
        owners: dict[bytes, str] = {}
        for name, key in self._client_keys.items():
            other = owners.setdefault(key.public_data, name)
            if other != name:
                raise UsageError(f"{name} and {other} have the same client key; give each its own")

    def to_dial(self, name: str) -> tuple[str, int, asyncssh.SSHKey]:
        """Host, port and pinned host key. Raises RefusedError when one of them is not configured."""
        address = self._addresses.get(name)
        key = self._host_keys.get(name)
        if address is None or key is None:
            raise RefusedError(
                f"{name} cannot be dialed: its address or its pinned host key is not configured",
                code="not_pinned",
            )
        return *address, key

    def is_client_key(self, name: str, key: asyncssh.SSHKey) -> bool:
        """Whether `name` dials with this key."""
        pinned = self._client_keys.get(name)
        return pinned is not None and pinned.public_data == key.public_data

    def why_not(self, name: str, key: asyncssh.SSHKey) -> str:
        """For the log: why a client key was refused."""
        shown = keys.fingerprint(key)
        pinned = self._client_keys.get(name)
        if pinned is None:
            return f"nobody of that name dials this side; its key is {shown}"
        return f"{name} came with key {shown}, its pinned key is {keys.fingerprint(pinned)}"
