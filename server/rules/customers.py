"""What holds of customers (protocol: customers): the lengths of their texts, their secrets, the link to a portal."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from uuid import UUID

from server.rules import keystring
from server.rules.codes import Code
from storage.records import DataObject

LONGEST_TEXT = 100
LONGEST_NOTES = 1_000
SECRET_BYTES = keystring.BYTES_NEEDED  # how many random bytes `secret_from` wants
SECRET_SETTING = "cryptolens_customer_secret"  # noqa: S105 (the name of a data object)
LIKE_KEYS = 2  # its value for secrets that can be read out and typed
_GUID_BYTES = 16
_MOST_DIGITS = 18  # so many always fit into an int64


def too_long(*, name: str, email: str, company_name: str) -> Code | None:
    """Return what is said of the first text that is too long, or None."""
    texts = (
        (name, Code.CUSTOMER_NAME_LONG),
        (email, Code.CUSTOMER_EMAIL_LONG),
        (company_name, Code.CUSTOMER_COMPANY_LONG),
    )
    return next((code for text, code in texts if len(text) > LONGEST_TEXT), None)


def secret_from(data: bytes, settings: Sequence[DataObject]) -> str:
    """Return a secret from `SECRET_BYTES` random bytes: a GUID, or a text like a key if the account's data objects say so.

    Whoever knows it can list the customer's licenses. Of several settings the oldest counts, which comes first.
    """
    kind = next((each.int_value for each in settings if each.name == SECRET_SETTING), 0)
    if kind == LIKE_KEYS:
        return keystring.from_bytes(data)
    return str(UUID(bytes=data[:_GUID_BYTES], version=4))


def hash_of(secret: str) -> bytes:
    """Return what is kept of a secret. It is 90 random bits at least, so one fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def number_in(search: str) -> int | None:
    """Return the id that a text to search for may mean, or None."""
    text = search.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def auth_text(customer_id: int) -> str:
    """Return the text whose keyed hash shows a portal that the link of this customer is ours."""
    return f"customer portal {customer_id}"


def portal_link(template: str, customer_id: int, auth: bytes) -> str:
    """Return where the customer associates with a user: the template with the id and the code put in."""
    code = urlsafe_b64encode(auth).decode().rstrip("=")
    return template.replace("{id}", str(customer_id)).replace("{auth}", code)
