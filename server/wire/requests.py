"""What clients may ask: one dataclass per request shape. Names, types, defaults and limits are the parameter reference.

The wire's name of a field is its Python name without underscores, in any case. A field without a default is required.
How a value is read stands in `parse`; what a method makes of it stands in the rules.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, NamedTuple

from server.rules.codes import Code, Refusal
from server.rules.grants import Caller
from server.rules.term import LONGEST_PERIOD

INT32 = 2**31 - 1
INT64 = 2**63 - 1

LONGEST_MACHINE_CODE = 512
LONGEST_FRIENDLY_NAME = 250
LONGEST_LEASE = 31_622_400  # seconds: 366 days (protocol: floating, interval bounds)


class Between(NamedTuple):
    """A number outside these bounds, both inclusive, is bad input."""

    low: int
    high: int


class Clamp(NamedTuple):
    """A number outside these bounds, both inclusive, becomes the nearest bound."""

    low: int
    high: int


class ZeroMeans(NamedTuple):
    """The .NET SDK posts 0 for what was not set, where 0 makes no sense: it becomes this number."""

    number: int


class Cut(NamedTuple):
    """A text is cut, silently, to so many characters."""

    characters: int


class Longest(NamedTuple):
    """A text of more characters, or a list of more items, is bad input."""

    length: int


@dataclass(frozen=True, slots=True)
class Nullable:
    """The text None or null, in any case, means "not given": only where SDKs produce it (protocol: parsing table)."""


@dataclass(frozen=True, slots=True)
class KeyText:
    """The text is a license key: trimmed and in capitals."""


class SignMethod(IntEnum):
    """How an answer is signed: an object that carries its signature, or a text with the signature beside it."""

    LINQ_SIGN = 0
    STRING_SIGN = 1


class Order(Enum):
    """The value of OrderBy: "Id" or "Time", then nothing or one of these. Both mean the order of ids."""

    ASCENDING = "ascending"
    DESCENDING = "descending"


class Span(NamedTuple):
    """The value of Time: Unix seconds, both inclusive; None is open."""

    since: int | None = None
    until: int | None = None


ALWAYS = Span()

ProductId = Annotated[int, Between(0, INT32)]
Count = Annotated[int, Between(0, INT32)]
Cursor = Annotated[int, Between(0, INT64)]
MachineCode = Annotated[str, Longest(LONGEST_MACHINE_CODE)]
FriendlyName = Annotated[str, Nullable(), Cut(LONGEST_FRIENDLY_NAME)]
Interval = Annotated[int, Between(0, INT64), Clamp(0, LONGEST_LEASE)]
ModelVersion = Annotated[int, Clamp(1, 3)]
State = Annotated[int, Between(0, 2**15 - 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Any request. The caller is found out by dispatch and is no parameter; `token` and `v` end there."""

    caller: Caller = field(metadata={"parameter": False})


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenseAsk(Ask):
    """BlockKey and UnblockKey, and what every request that names a license starts with."""

    product_id: ProductId
    key: Annotated[str, KeyText()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Activate(LicenseAsk):
    """Protocol: Activate. With `floating_time_interval` 0 the machine is node-locked."""

    sign: bool = False
    machine_code: MachineCode = ""
    friendly_name: FriendlyName = ""
    fields_to_return: Count = 0
    sign_method: SignMethod = SignMethod.LINQ_SIGN
    metadata: bool = False
    floating_time_interval: Interval = 0
    max_overdraft: Cursor = 0
    os_info: Annotated[str, Nullable()] = ""
    model_version: ModelVersion = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GetKey(LicenseAsk):
    """Protocol: GetKey. The interval only says whether floating machines are counted in the metadata."""

    sign: bool = False
    fields_to_return: Count = 0
    sign_method: SignMethod = SignMethod.LINQ_SIGN
    metadata: bool = False
    floating_time_interval: Interval = 0
    model_version: ModelVersion = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Deactivate(LicenseAsk):
    """Protocol: Deactivate."""

    machine_code: MachineCode = ""
    floating: bool = False
    os_info: Annotated[str, Nullable()] = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateTrialKey(Ask):
    """Protocol: CreateTrialKey. The machine code has messages of its own: the rule judges it."""

    product_id: ProductId
    machine_code: str = ""
    friendly_name: FriendlyName = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreateKey(Ask):
    """Protocol: CreateKey. Customer and reseller 0 are none; the length of the notes is judged by the rule."""

    product_id: ProductId
    period: Annotated[int, Between(0, LONGEST_PERIOD)] = 0
    f1: bool = False
    f2: bool = False
    f3: bool = False
    f4: bool = False
    f5: bool = False
    f6: bool = False
    f7: bool = False
    f8: bool = False
    notes: Annotated[str, Nullable()] = ""
    block: bool = False
    customer_id: Count = 0
    trial_activation: bool = False
    max_no_of_machines: Count = 0
    allowed_machines: Annotated[str, Nullable()] = ""
    reseller_id: Count = 0
    no_of_keys: Annotated[int, Between(0, 1000), ZeroMeans(1)] = 1
    new_customer: bool = False
    add_or_use_existing_customer: bool = False
    name: Annotated[str, Nullable()] = ""
    email: Annotated[str, Nullable()] = ""
    company_name: Annotated[str, Nullable()] = ""
    enable_customer_association: bool = False
    allow_activation_management: bool = False
    allow_multiple_user_association: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineLockLimit(LicenseAsk):
    """Protocol: MachineLockLimit."""

    number_of_machines: Count = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtendLicense(LicenseAsk):
    """Protocol: ExtendLicense. The days may be negative."""

    no_of_days: Annotated[int, Between(-INT32, INT32)] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GetWebAPILog(Ask):
    """Protocol: GetWebAPILog. Zero and empty filter nothing: the .NET SDK posts every property."""

    product_id: ProductId = 0
    key: Annotated[str, KeyText()] = ""
    machine_code: MachineCode = ""
    friendly_name: Annotated[str, Nullable()] = ""
    states: Annotated[tuple[State, ...], Nullable(), Longest(100)] = ()
    time: Annotated[Span, Nullable()] = ALWAYS
    limit: Annotated[int, Between(0, INT64), Clamp(0, 1000), ZeroMeans(10)] = 10
    starting_after: Cursor = 0
    ending_before: Cursor = 0
    order_by: Annotated[Order | None, Nullable()] = None
    anomaly_classification: bool = False

    def __post_init__(self) -> None:
        """Refuse a key without its product: keys are unique inside one only."""
        if self.key and not self.product_id:
            raise Refusal(Code.INPUT)

    @property
    def after_id(self) -> int:
        """The cursor to go up from; of both, EndingBefore wins."""
        return 0 if self.ending_before else self.starting_after

    @property
    def descending(self) -> bool:
        """Whether the newest come first: as asked, else only below an EndingBefore."""
        return self.ending_before > 0 if self.order_by is None else self.order_by is Order.DESCENDING
