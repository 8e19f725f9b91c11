"""Secrets at rest: AES-256-GCM with the row's id as associated data, several keys for rotation."""

import os
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
_FORMAT = "v1"


class SecretBox:
    """Seals and opens texts. The first key seals; every key may open."""

    def __init__(self, keys: list[bytes]) -> None:
        """`keys`: newest first, 32 bytes each. Raises ValueError."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            msg = (
                "ORDERWIRE_SECRET_KEY is base64 of 32 bytes (a comma list, newest first); "
                "make one with: orderwire keys generate-secret-key"
            )
            raise ValueError(msg)
        self._keys = {_fingerprint(key): AESGCM(key) for key in keys}
        self._first = _fingerprint(keys[0])

    @classmethod
    def from_text(cls, text: str) -> "SecretBox":
        """From the setting's text. Raises ValueError."""
        try:
            keys = [b64decode(part.strip(), validate=True) for part in text.split(",")]
        except ValueError:
            keys = []
        return cls(keys)

    def seal(self, text: str, row_id: str) -> str:
        """`text` made unreadable, bound to `row_id`: moved to another row it does not open."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._keys[self._first].encrypt(nonce, text.encode(), row_id.encode())
        return f"{_FORMAT}:{self._first}:{b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str, row_id: str) -> str:
        """The text again. Raises ValueError where no key of ours made it for this row."""
        _, fingerprint, payload = sealed.split(":", 2)
        key = self._keys.get(fingerprint)
        raw = b64decode(payload)
        try:
            if key is not None:
                return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], row_id.encode()).decode()
        except InvalidTag:
            pass  # said below, the same way
        msg = f"a secret of {row_id} does not open with the keys in ORDERWIRE_SECRET_KEY: add the key that sealed it"
        raise ValueError(msg)


def _fingerprint(key: bytes) -> str:
    return sha256(b"orderwire-key-id" + key).hexdigest()[:8]
