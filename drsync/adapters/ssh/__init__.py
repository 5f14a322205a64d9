"""The transport: asyncssh, one subsystem, pinned keys."""

from drsync.adapters.ssh.keys import fingerprint, generate_keypair, public_key
from drsync.adapters.ssh.peers import PeerKeys
from drsync.adapters.ssh.transport import SshTransport

__all__ = ["PeerKeys", "SshTransport", "fingerprint", "generate_keypair", "public_key"]
