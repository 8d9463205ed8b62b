"""What clients may ask: one dataclass per request shape. Names, types, defaults and limits are the parameter reference.

The wire's name of a field is its Python name without underscores, in any case. A field without a default is required.
How a value is read stands in `parse`; what a method makes of it stands in the rules.
"""

from dataclasses import field
from enum import Enum, IntEnum
from typing import Annotated, NamedTuple

from server.rules.codes import Code, Refusal
from server.rules.customers import LONGEST_NOTES as LONGEST_CUSTOMER_NOTES
from server.rules.events import LONGEST_METADATA, Told
from server.rules.grants import Caller
from server.rules.term import EARLIEST, LATEST, LONGEST_PERIOD
from server.rules.values import Which
from storage.frozen import frozen, frozen_by_name, part_by_name
from storage.records import Referencer

INT32 = 2**31 - 1
INT64 = 2**63 - 1

LONGEST_MACHINE_CODE = 512
LONGEST_FRIENDLY_NAME = 250
LONGEST_OBJECT_NAME = 100
LONGEST_STRING_VALUE = 10_000
LONGEST_CHANNEL = 100
LONGEST_CONTENT = 10_000
LONGEST_EVENT_NAME = 100
LONGEST_CURRENCY = 10
MOST_EVENTS = 1_000
LONGEST_LEASE = 31_622_400  # seconds: 366 days (protocol: floating, interval bounds)


class Between(NamedTuple):
    """A number outside these bounds, both inclusive, is bad input."""

    low: int
    high: int


class Clamp(NamedTuple):
    """A number outside these bounds, both inclusive, becomes the nearest bound."""

    low: int
    high: int


class ZeroOutside(NamedTuple):
    """A number outside these bounds, both inclusive, becomes 0."""

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


class Unreadable(NamedTuple):
    """What cannot be read as the type at all is refused with this code, not as bad input in general."""

    code: Code


@frozen
class Nullable:
    """The text None or null, in any case, means "not given": only where SDKs produce it (protocol: parsing table)."""


@frozen
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
IntValue = Annotated[int, ZeroOutside(-INT32 - 1, INT32)]
StringValue = Annotated[str, Nullable(), Longest(LONGEST_STRING_VALUE)]
Channel = Annotated[str, Longest(LONGEST_CHANNEL)]
EventName = Annotated[str, Cut(LONGEST_EVENT_NAME)]
Currency = Annotated[str, Nullable(), Cut(LONGEST_CURRENCY)]
EventMetadata = Annotated[str, Nullable(), Longest(LONGEST_METADATA)]


@frozen_by_name
class Ask:
    """Any request. The caller is found out by dispatch and is no parameter; `token` and `v` end there."""

    caller: Caller = field(metadata={"parameter": False})


@frozen_by_name
class LicenseAsk(Ask):
    """BlockKey and UnblockKey, and what every request that names a license starts with."""

    product_id: ProductId
    key: Annotated[str, KeyText()]


@frozen_by_name
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


@frozen_by_name
class GetKey(LicenseAsk):
    """Protocol: GetKey. The interval only says whether floating machines are counted in the metadata."""

    sign: bool = False
    fields_to_return: Count = 0
    sign_method: SignMethod = SignMethod.LINQ_SIGN
    metadata: bool = False
    floating_time_interval: Interval = 0
    model_version: ModelVersion = 1


@frozen_by_name
class Deactivate(LicenseAsk):
    """Protocol: Deactivate."""

    machine_code: MachineCode = ""
    floating: bool = False
    os_info: Annotated[str, Nullable()] = ""


@frozen_by_name
class CreateTrialKey(Ask):
    """Protocol: CreateTrialKey. The machine code has messages of its own: the rule judges it."""

    product_id: ProductId
    machine_code: str = ""
    friendly_name: FriendlyName = ""


@frozen_by_name
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


@frozen_by_name
class MachineLockLimit(LicenseAsk):
    """Protocol: MachineLockLimit."""

    number_of_machines: Count = 0


@frozen_by_name
class ExtendLicense(LicenseAsk):
    """Protocol: ExtendLicense. The days may be negative."""

    no_of_days: Annotated[int, Between(-INT32, INT32)] = 0


@frozen_by_name
class ChangeFeature(LicenseAsk):
    """Protocol: AddFeature and RemoveFeature."""

    feature: Annotated[int, Between(1, 8)]


@frozen_by_name
class ChangeNotes(LicenseAsk):
    """Protocol: ChangeNotes. Empty clears; their length is judged by the rule."""

    notes: Annotated[str, Nullable()] = ""


@frozen_by_name
class ChangeCustomer(LicenseAsk):
    """Protocol: ChangeCustomer. 0 is nobody."""

    customer_id: Count = 0


@frozen_by_name
class TrialActivation(LicenseAsk):
    """Protocol: TrialActivation."""

    enabled: bool = False


# Customers. The lengths of names, emails and companies are judged by the rule: they have messages of their own.


@frozen_by_name
class AddCustomer(Ask):
    """Protocol: AddCustomer."""

    name: Annotated[str, Nullable()] = ""
    email: Annotated[str, Nullable()] = ""
    company_name: Annotated[str, Nullable()] = ""
    notes: Annotated[str, Nullable(), Longest(LONGEST_CUSTOMER_NOTES)] = ""
    enable_customer_association: bool = False
    allow_activation_management: bool = False
    allow_multiple_user_association: bool = False


@frozen_by_name
class EditCustomer(Ask):
    """Protocol: EditCustomer. What is empty or not given stays as it is: the .NET SDK posts every property.

    With `secret` the customer gets a new one.
    """

    customer_id: Count
    name: Annotated[str, Nullable()] = ""
    email: Annotated[str, Nullable()] = ""
    company_name: Annotated[str, Nullable()] = ""
    notes: Annotated[str, Nullable(), Longest(LONGEST_CUSTOMER_NOTES)] = ""
    enable_customer_association: bool | None = None
    allow_activation_management: bool | None = None
    allow_multiple_user_association: bool | None = None
    max_no_of_devices: Annotated[int | None, Between(0, INT32)] = None
    secret: bool = False


@frozen_by_name
class RemoveCustomer(Ask):
    """Protocol: RemoveCustomer."""

    customer_id: Count


@frozen_by_name
class GetCustomers(Ask):
    """Protocol: GetCustomers. They are sorted as `sort_by_created_descending` says whatever it is; limit 0 is none."""

    search: Annotated[str, Nullable()] = ""
    include_id_in_search: bool = False
    customer_id: Count = 0
    limit: Cursor = 0
    sort_by_created_descending: bool = False
    model_version: ModelVersion = 1


@frozen_by_name
class GetCustomerLicenses(Ask):
    """Protocol: GetCustomerLicenses."""

    customer_id: Count
    detailed: bool = False
    metadata: bool = False
    model_version: ModelVersion = 1


@frozen_by_name
class GetCustomerLicensesBySecret(Ask):
    """Protocol: GetCustomerLicensesBySecret."""

    secret: str
    detailed: bool = False
    metadata: bool = False
    model_version: ModelVersion = 1


# Data objects: each method in three forms, which differ in how they name what the object hangs at. What a method takes
# beyond that stands in one of these five, which are no requests by themselves.


@part_by_name
class NewObject:
    """Protocol: AddDataObject."""

    name: Annotated[str, Nullable(), Longest(LONGEST_OBJECT_NAME)] = ""
    string_value: StringValue = ""
    int_value: IntValue = 0
    check_for_duplicates: bool = False


@part_by_name
class Contains:
    """Protocol: ListDataObjects."""

    contains: Annotated[str, Nullable()] = ""


@part_by_name
class Number:
    """Protocol: SetIntValue."""

    int_value: IntValue = 0


@part_by_name
class Text:
    """Protocol: SetStringValue. Empty clears."""

    string_value: StringValue = ""


@part_by_name
class Step:
    """Protocol: IncrementIntValue and DecrementIntValue. The absolute value of the number counts."""

    int_value: int = 0
    enable_bound: bool = False
    bound: int = 0

    @property
    def limit(self) -> int | None:
        """The bound, if there is one."""
        return self.bound if self.enable_bound else None


@frozen_by_name
class AtReferencer(Ask):
    """What an object hangs at, by its kind and number (the account needs none)."""

    referencer_type: Referencer = Referencer.USER
    referencer_id: Cursor = 0


@frozen_by_name
class ById(Ask):
    """An object by its id alone."""

    id: Cursor

    @property
    def which(self) -> Which:
        """The object that is meant."""
        return Which(self.id, "")


@frozen_by_name
class AtMachine(LicenseAsk):
    """A machine code under a license, registered or not."""

    machine_code: MachineCode


@frozen_by_name
class OfKey(LicenseAsk):
    """An object of a license, by id or by name. Java sends both: an id of 0 is none."""

    id: Cursor = 0
    name: Annotated[str, Nullable()] = ""

    @property
    def which(self) -> Which:
        """The object that is meant."""
        return Which(self.id, self.name)


@frozen_by_name
class OfMachine(AtMachine):
    """An object of a machine code, by id or by name."""

    id: Cursor = 0
    name: Annotated[str, Nullable()] = ""

    @property
    def which(self) -> Which:
        """The object that is meant."""
        return Which(self.id, self.name)


@frozen_by_name
class AddDataObject(AtReferencer, NewObject):
    """Protocol: AddDataObject, general form."""


@frozen_by_name
class AddDataObjectToKey(LicenseAsk, NewObject):
    """Protocol: AddDataObject, of a license."""


@frozen_by_name
class AddDataObjectToMachineCode(AtMachine, NewObject):
    """Protocol: AddDataObject, of a machine code."""


@frozen_by_name
class ListDataObjects(AtReferencer, Contains):
    """Protocol: ListDataObjects, general form. `show_all` lists those of the whole account, with their referencers."""

    show_all: bool = False


@frozen_by_name
class ListDataObjectsToKey(LicenseAsk, Contains):
    """Protocol: ListDataObjects, of a license."""


@frozen_by_name
class ListDataObjectsToMachineCode(AtMachine, Contains):
    """Protocol: ListDataObjects, of a machine code."""


@frozen_by_name
class SetIntValue(ById, Number):
    """Protocol: SetIntValue, general form."""


@frozen_by_name
class SetIntValueToKey(OfKey, Number):
    """Protocol: SetIntValue, of a license."""


@frozen_by_name
class SetIntValueToMachineCode(OfMachine, Number):
    """Protocol: SetIntValue, of a machine code."""


@frozen_by_name
class SetStringValue(ById, Text):
    """Protocol: SetStringValue, general form."""


@frozen_by_name
class SetStringValueToKey(OfKey, Text):
    """Protocol: SetStringValue, of a license."""


@frozen_by_name
class SetStringValueToMachineCode(OfMachine, Text):
    """Protocol: SetStringValue, of a machine code."""


@frozen_by_name
class StepIntValue(ById, Step):
    """Protocol: IncrementIntValue and DecrementIntValue, general form."""


@frozen_by_name
class StepIntValueToKey(OfKey, Step):
    """Protocol: IncrementIntValue and DecrementIntValue, of a license."""


@frozen_by_name
class StepIntValueToMachineCode(OfMachine, Step):
    """Protocol: IncrementIntValue and DecrementIntValue, of a machine code."""


@frozen_by_name
class MayNameLicense(Ask):
    """A license, a product alone, or neither."""

    product_id: ProductId = 0
    key: Annotated[str, KeyText()] = ""

    def __post_init__(self) -> None:
        """Refuse a key without its product: keys are unique inside one only."""
        if self.key and not self.product_id:
            raise Refusal(Code.INPUT)


@frozen_by_name
class LogPage(MayNameLicense):
    """A page of what is kept in order of id."""

    time: Annotated[Span, Nullable()] = ALWAYS
    starting_after: Cursor = 0
    ending_before: Cursor = 0

    @property
    def after_id(self) -> int:
        """The cursor to go up from; of both, EndingBefore wins."""
        return 0 if self.ending_before else self.starting_after


@frozen_by_name
class GetWebAPILog(LogPage):
    """Protocol: GetWebAPILog. Zero and empty filter nothing: the .NET SDK posts every property."""

    machine_code: MachineCode = ""
    friendly_name: Annotated[str, Nullable()] = ""
    states: Annotated[tuple[State, ...], Nullable(), Longest(100)] = ()
    limit: Annotated[int, Between(0, INT64), Clamp(0, 1000), ZeroMeans(10)] = 10
    order_by: Annotated[Order | None, Nullable()] = None
    anomaly_classification: bool = False

    @property
    def descending(self) -> bool:
        """Whether the newest come first: as asked, else only below an EndingBefore."""
        return self.ending_before > 0 if self.order_by is None else self.order_by is Order.DESCENDING


@frozen_by_name
class GetEvents(LogPage):
    """Protocol: GetEvents. Zero and empty filter nothing; the metadata contain the text, in the same case."""

    metadata: Annotated[str, Nullable()] = ""
    limit: Annotated[int, Between(0, INT64), Clamp(0, 100), ZeroMeans(10)] = 10


@frozen_by_name
class RegisterEvent(MayNameLicense):
    """Protocol: RegisterEvent. It happens now."""

    machine_code: MachineCode = ""
    feature_name: EventName = ""
    event_name: EventName = ""
    value: int = 0
    currency: Currency = ""
    metadata: EventMetadata = ""

    @property
    def told(self) -> tuple[Told, ...]:
        """What is told, as one event."""
        return (Told(self.feature_name, self.event_name, self.value, self.currency, 0, self.metadata),)


class NewEvent(NamedTuple):
    """One item of RegisterEvents, in the order of `Told`."""

    feature_name: EventName = ""
    event_name: EventName = ""
    value: int = 0
    currency: Currency = ""
    time: Annotated[int, Between(EARLIEST, LATEST)] = 0
    metadata: EventMetadata = ""


@frozen_by_name
class RegisterEvents(MayNameLicense):
    """Protocol: RegisterEvents."""

    machine_code: MachineCode = ""
    events: Annotated[tuple[NewEvent, ...], Longest(MOST_EVENTS)]

    @property
    def told(self) -> tuple[Told, ...]:
        """What is told, event by event."""
        return tuple(Told(*each) for each in self.events)


@frozen_by_name
class GetMessages(Ask):
    """Protocol: GetMessages. An empty channel is all of them; those made after the time, 0: all."""

    channel: Channel = ""
    time: Annotated[int, Unreadable(Code.TIMESTAMP)] = 0


@frozen_by_name
class CreateMessage(Ask):
    """Protocol: CreateMessage. Time 0 is now."""

    content: Annotated[str, Longest(LONGEST_CONTENT)] = ""
    channel: Channel = ""
    time: Annotated[int, Unreadable(Code.TIMESTAMP), Between(EARLIEST, LATEST)] = 0


@frozen_by_name
class RemoveMessage(Ask):
    """Protocol: RemoveMessage."""

    id: Cursor


@frozen_by_name
class RecordUsage(LicenseAsk):
    """Protocol: RecordUsage."""

    amount: Annotated[int, Between(0, INT64)] = 0
