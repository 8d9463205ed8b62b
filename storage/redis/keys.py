"""How things are named in Valkey."""

from hashlib import blake2b

SHARDS = 256
LONGEST_FIELD = 64  # bytes; a hash with longer fields takes three times the memory
HEAD = b"\0"  # the field of a set that is no lease


def seats_key(installation: str, license_id: int) -> bytes:
    """Return the key of a license's seats.

    Installations may share a server. The tag in braces keeps the keys of one shard together on a cluster. The 2 stands for
    how leases are packed: while an older program runs beside this one each has its own set, and the epoch says which counts.
    """
    return b"keyturn:%s:{s%03d}:2:seats:%d" % (installation.encode(), license_id % SHARDS, license_id)


def limit_key(installation: str, name: str) -> bytes:
    """Return the key of what a rate limit counts under a name, of which nothing can be read in it.

    Names are made of addresses and ids of tokens. This hides them from whoever sees the key, not from whoever guesses a
    name and has the installation's id.
    """
    # The port promises not to raise, so a name may be any text at all.
    digest = blake2b(name.encode(errors="surrogatepass"), key=installation.encode(), digest_size=16)
    return b"keyturn:%s:{s%03d}:limit:%s" % (installation.encode(), digest.digest()[0] % SHARDS, digest.hexdigest().encode())


def probe_key(installation: str) -> bytes:
    """Return the key that is written to see whether Valkey takes writes."""
    return b"keyturn:%s:{s000}:probe" % installation.encode()


def field_of(code: str) -> tuple[bytes, bytes]:
    """Return the field of a machine code, and the code to keep beside it: empty, unless the field is a digest of it.

    No machine code holds a NUL, so a digest is never mistaken for one.
    """
    field = code.encode()
    if len(field) <= LONGEST_FIELD:
        return field, b""
    return b"\0" + blake2b(field, digest_size=16).digest(), field
