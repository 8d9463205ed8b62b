"""The text of access tokens: an id and a secret, of which only the hash is kept (protocol: auth, token format).

What clients send of it is read in `parse`.
"""

import hashlib
from base64 import b64encode

import orjson

SECRET_BYTES = 30


def secret_of(data: bytes) -> str:
    """Return the secret that `SECRET_BYTES` random bytes make."""
    return b64encode(data).decode()


def hash_of(secret: str) -> bytes:
    """Return what is kept of a token's secret. It is 240 random bits, so one fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def text_of(token_id: int, secret: str) -> str:
    """Return the text of a token, which is shown once and kept nowhere."""
    return b64encode(orjson.dumps([str(token_id), secret])).decode()
