"""THE TABLE: one row per Web API method. A new method is a request class, a handler, and a row here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from server.handlers import analytics, key
from server.rules.grants import Names
from server.services import Services
from server.wire import requests
from server.wire.replies import Reply

KIB = 1024
Handler = Callable[[Services, Any, int], Awaitable[Reply]]  # the request class of the row takes the place of Any


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its path below /api/, its request, the permission, what its parameters name, its body's bound in bytes."""

    path: str
    ask: type[requests.Ask]
    permission: str
    names: Names
    body: int
    handler: Handler
    multipart: bool = False


# fmt: off
# ruff: noqa: E501 (a table reads best with a row on a line)
METHODS = (
    Method("key/Activate",         requests.Activate,         "Activate",         Names.LICENSE, 16 * KIB,  key.activate),
    Method("key/GetKey",           requests.GetKey,           "GetKey",           Names.LICENSE, 16 * KIB,  key.get_key),
    Method("key/Deactivate",       requests.Deactivate,       "Deactivate",       Names.LICENSE, 16 * KIB,  key.deactivate),
    Method("key/CreateTrialKey",   requests.CreateTrialKey,   "CreateTrialKey",   Names.PRODUCT, 16 * KIB,  key.create_trial_key),
    Method("key/CreateKey",        requests.CreateKey,        "CreateKey",        Names.PRODUCT, 64 * KIB,  key.create_key,         multipart=True),
    Method("key/BlockKey",         requests.LicenseAsk,       "BlockKey",         Names.LICENSE, 64 * KIB,  key.block_key,          multipart=True),
    Method("key/UnblockKey",       requests.LicenseAsk,       "UnblockKey",       Names.LICENSE, 64 * KIB,  key.unblock_key,        multipart=True),
    Method("key/MachineLockLimit", requests.MachineLockLimit, "MachineLockLimit", Names.LICENSE, 64 * KIB,  key.machine_lock_limit, multipart=True),
    Method("key/ExtendLicense",    requests.ExtendLicense,    "ExtendLicense",    Names.LICENSE, 64 * KIB,  key.extend_license,     multipart=True),
    Method("ai/GetWebAPILog",      requests.GetWebAPILog,     "GetWebAPILog",     Names.LOG,     64 * KIB,  analytics.get_web_api_log, multipart=True),
)
# fmt: on

# What a token may be given; more names join with their methods.
PERMISSIONS = tuple(sorted({method.permission for method in METHODS}))
