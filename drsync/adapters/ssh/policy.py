"""What we speak in SSH: exact algorithm lists and sizes, the same for both directions. No code but constants.

Lists name what is allowed; anything else fails the handshake. All ciphers are AEAD, on which
`drsync.adapters.ssh.quirks` relies. Both sides are drsync, so there is nothing older to be kind to.
"""

from typing import Final, TypedDict

SUBSYSTEM: Final = "drsync"
CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")
"""Fastest first: 1.3 GB/s, the same, and half of it where a processor has no AES instructions."""
KEY_EXCHANGES: Final = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
KEY_TYPES: Final = ("ssh-ed25519",)
MACS: Final = ("hmac-sha2-256-etm@openssh.com",)
"""Never used: AEAD ciphers bring their own. The list may not be empty."""

PACKET_BYTES: Final = 68 << 10
"""Because a write of 64 KiB with all that stands before it goes in one: each packet costs as much as copying
64 KiB does. Larger ones cost the receiver more: what is left of one is copied when the rest arrives
(measured, 128 KiB: a seventh more)."""
PLAIN_PACKET_BYTES: Final = 32 << 10
"""The same for an asyncssh that we have not read: it cuts them out of its buffer three times."""
CONTROL_WINDOW_BYTES: Final = 2 << 20
"""Because control bodies have 256 KiB, and a window of several hides the round trip."""
BULK_WINDOW_BYTES: Final = 16 << 20
"""Because rate x round trip must fit: 4 Gbit/s at 30 ms."""
WRITE_BUFFER_BYTES: Final = 4 << 20
"""Because pausing after each 1 MiB frame would cost a turn of the loop per frame."""
REKEY_BYTES: Final = 1 << 36
"""Because AES-GCM is good for more under one key, and new keys stop the stream for a round trip."""

HANDSHAKE_S: Final = 10.0
"""Because three round trips and two signatures take a second on the worst line (P60)."""
UNAUTHENTICATED_MAX: Final = 32
"""Because each holds some 100 KiB; the oldest goes when one more comes, so that strangers who say
nothing keep nobody out: a peer authenticates in milliseconds."""
CLOSE_GRACE_S: Final = 2.0
"""Because last words should arrive, and a peer that does not read must not keep the connection."""
BULK_KEEPALIVE_S: Final = 5.0
BULK_KEEPALIVES_MAX: Final = 3
"""Because a bulk link has no pings of its own: one that is silently dropped ends after 20 s (P59)."""
LISTENER_KEEPALIVE_S: Final = 20 / 3
LISTENER_KEEPALIVES_MAX: Final = 2
"""The same where the other side has dialed: later, because its question is a sign of life, too."""


class BothWays(TypedDict):
    """Options of asyncssh."""

    config: None
    password_auth: bool
    kbdint_auth: bool
    host_based_auth: bool
    gss_auth: bool
    gss_kex: bool
    agent_forwarding: bool
    x11_forwarding: bool
    kex_algs: tuple[str, ...]
    encryption_algs: tuple[str, ...]
    mac_algs: tuple[str, ...]
    signature_algs: tuple[str, ...]
    compression_algs: None
    rekey_bytes: int
    keepalive_interval: int
    login_timeout: float


BOTH_WAYS: Final[BothWays] = {
    "config": None,
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "gss_auth": False,
    "gss_kex": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "kex_algs": KEY_EXCHANGES,
    "encryption_algs": CIPHERS,
    "mac_algs": MACS,
    "signature_algs": KEY_TYPES,
    "compression_algs": None,
    "rekey_bytes": REKEY_BYTES,
    "keepalive_interval": 0,
    "login_timeout": HANDSHAKE_S,
}
"""What holds for those who dial and those who are dialed: keys alone prove who somebody is, nothing is
forwarded, and nothing is read from the files of a user."""

PREAMBLE_MAGIC: Final = b"DRS1"
PREAMBLE_BYTES: Final = 8
"""First bytes of the channel, from whoever dialed: magic, kind (1 control, 2 bulk), three zeros."""
