"""Key files and pins. Keys are ed25519; a pin is the public key as ``type base64``, without a comment."""

import os
from pathlib import Path

import asyncssh

from drsync.model.errors import PermanentError, RefusedError, UsageError

_KEY_TYPE = "ssh-ed25519"
_OTHERS = 0o077


def generate_keypair(path: Path) -> str:
    """Make a private key file of mode 0600, durable, and return its public key.

    Raises:
        UsageError: the file exists already.
        PermanentError: it cannot be written.
    """
    key = asyncssh.generate_private_key(_KEY_TYPE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; a key is never overwritten") from None
    except OSError as error:
        raise PermanentError(f"cannot make {path}: {error.strerror}") from error
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor: exclusive and private from its first byte
        file.write(key.export_private_key("openssh"))
        file.flush()
        os.fsync(descriptor)
    return _text(key)


def public_key(path: Path) -> str:
    """The public key of a private key file. Raises as `load`."""
    return _text(load(path))


def load(path: Path) -> asyncssh.SSHKey:
    """A private key that only its owner can read.

    Raises:
        PermanentError: missing, not readable, or no ed25519 key.
        RefusedError: others may read it.
    """
    try:
        mode = path.stat().st_mode
        key = asyncssh.read_private_key(path)
    except OSError as error:
        raise PermanentError(f"cannot read the key {path}: {error.strerror}") from error
    except asyncssh.KeyImportError as error:
        raise PermanentError(f"{path} is no private key: {error}") from error
    if mode & _OTHERS:
        raise RefusedError(
            f"others may read the private key {path}", code="key_exposed", remedy=f"chmod 600 {path}"
        )
    if key.algorithm != _KEY_TYPE.encode():
        raise PermanentError(f"{path} is a key of type {key.algorithm.decode()}, not {_KEY_TYPE}")
    return key


def pin(text: str, whose: str) -> asyncssh.SSHKey:
    """A pinned public key. Raises UsageError when it is none, or no ed25519 key."""
    try:
        key = asyncssh.import_public_key(text)
    except asyncssh.KeyImportError as error:
        raise UsageError(f"the pinned key of {whose} is no public key: {error}") from error
    if key.algorithm != _KEY_TYPE.encode():
        raise UsageError(f"the pinned key of {whose} is of type {key.algorithm.decode()}, not {_KEY_TYPE}")
    return key


def fingerprint(key: str | asyncssh.SSHKey) -> str:
    """``SHA256:…``, as OpenSSH shows it. Raises UsageError when the text is no key."""
    return (pin(key, "this text") if isinstance(key, str) else key).get_fingerprint("sha256")


def _text(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])
