"""The errors that storage may raise: adapters translate their drivers' errors into these, and nothing else escapes."""


class StorageError(Exception):
    """Anything that storage says instead of an answer."""


class Unavailable(StorageError):
    """An engine that the call needs is down or was not reached in time. What was asked may still have been done."""


class Busy(StorageError):
    """A bound was reached (queue full, five stale rounds, five seconds): try again shortly."""


class Broken(StorageError):
    """The engine refused this very request for what it contains: a bug of ours, which fails alone."""


class Stale(StorageError):
    """What the caller knew of its token, or of a customer, has changed: find them anew and begin again."""


class Conflict(StorageError):
    """Somebody else made the same thing at the same moment: look again, it is there now."""


class NoProduct(StorageError):
    """There is no such product in the account."""


class NoLicense(StorageError):
    """The product has no license with that key."""


class NoCustomer(StorageError):
    """There is no such customer in the account."""
