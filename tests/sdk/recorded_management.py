"""What the SDKs put on the wire for customers, messages, events, derived tokens and usage, as in `recorded`.

`{channel}`, `{name}` and `{email}` are a test's own; `{customer}`, `{secret}` and `{message}` name what it has made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .recorded import BROWSER, CPP, DOTNET, JAVA, PHP, Recorded, Sdk, component, dotnet

CURL_JSON = Sdk("JSON", {"Accept": "*/*", "Content-Type": "application/json"}, component)

_DOTNET_END = "&token={token}&v=1&modelversion=1"
_DOTNET_3 = "&token={token}&v=1&modelversion=3"
_PHP = "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1"  # whatever the method: false is empty, true is 1


# ---- customers


@dataclass(frozen=True, slots=True)
class CustomerEdit(Recorded):
    """A request that changes the customer Bob of `before@example.test` and Acme; whether it gets a new secret."""

    after: Mapping[str, object] = field(default_factory=dict)
    secret: bool = False


@dataclass(frozen=True, slots=True)
class LicenseList(Recorded):
    """A request for the licenses of a customer: with all fields or the basic ones."""

    detailed: bool = False


CUSTOMER_ADDITIONS = (
    Recorded(
        DOTNET, "/api//customer/addcustomer/",
        "Name={name}&Email={email}&CompanyName=Acme&EnableCustomerAssociation=False" + _DOTNET_END,
    ),
    Recorded(  # links need a portal, which this server has not
        DOTNET, "/api//customer/addcustomer/",
        "Name={name}&Email={email}&CompanyName=Acme&EnableCustomerAssociation=True" + _DOTNET_END, note="association",
    ),
    Recorded(
        PHP, "/api/customer/AddCustomer",
        _PHP + "&Name={name}&Email={email}&CompanyName=Acme&AllowActivationManagement=1&AllowMultipleUserAssociation=",
    ),
    Recorded(
        BROWSER, "/api/customer/AddCustomer?token={token}&Name={name}&Email={email}&CompanyName=Acme&Notes=VIP", None
    ),
)  # fmt: skip


def _dotnet_edit(email: str = "", company: str = "", secret: str = "") -> str:
    return (
        f"CustomerId={{customer}}&Name=&Email={email}&CompanyName={company}&EnableCustomerAssociation=&MaxNoOfDevices="
        f"&AllowActivationManagement=&AllowMultipleUserAssociation=&Secret={secret}" + _DOTNET_END
    )


CUSTOMER_EDITS = (
    CustomerEdit(DOTNET, "/api//customer/editcustomer/", _dotnet_edit(), note="nothing"),
    CustomerEdit(
        DOTNET, "/api//customer/editcustomer/", _dotnet_edit("new%40example.test"), note="email",
        after={"email": "new@example.test"},
    ),
    CustomerEdit(
        DOTNET, "/api//customer/editcustomer/", _dotnet_edit(company="%c3%85sa+%26+Co", secret="True"),
        note="secret", after={"companyName": "Åsa & Co"}, secret=True,
    ),
    CustomerEdit(
        PHP, "/api/customer/EditCustomer", _PHP + "&CustomerId={customer}&Name=Alice&Email=&Secret=", after={"name": "Alice"}
    ),
    CustomerEdit(PHP, "/api/customer/EditCustomer", _PHP + "&CustomerId={customer}&Secret=1", note="secret", secret=True),
    CustomerEdit(
        BROWSER, "/api/customer/EditCustomer?token={token}&CustomerId={customer}&Name=Alice%20B&MaxNoOfDevices=3", None,
        after={"name": "Alice B"},
    ),
)  # fmt: skip

CUSTOMER_REMOVALS = (
    Recorded(DOTNET, "/api//customer/removecustomer/", "CustomerId={customer}" + _DOTNET_END),
    Recorded(PHP, "/api/customer/RemoveCustomer", _PHP + "&CustomerId={customer}"),
    Recorded(BROWSER, "/api/customer/RemoveCustomer?token={token}&CustomerId={customer}", None),
)

CUSTOMER_LISTS = (
    Recorded(DOTNET, "/api//customer/getcustomers/", "Search={name}&Limit=0" + _DOTNET_END),
    Recorded(PHP, "/api/customer/GetCustomers", _PHP + "&Search={name}&ModelVersion=1"),
    Recorded(PHP, "/api/customer/GetCustomers", _PHP + "&Search={name}&Limit=10&ModelVersion=2", 2, note="all fields"),
    Recorded(BROWSER, "/api/customer/GetCustomers?token={token}&Search={name}&Limit=10", None),
)

LICENSE_LISTS = (
    LicenseList(DOTNET, "/api//customer/getcustomerlicenses/", "CustomerId={customer}&Detailed=False" + _DOTNET_3, 3),
    LicenseList(
        DOTNET, "/api//customer/getcustomerlicenses/", "CustomerId={customer}&Detailed=True" + _DOTNET_3, 3,
        note="detailed", detailed=True,
    ),
    LicenseList(
        DOTNET, "/api//customer/getcustomerlicensesbysecret/", "Secret={secret}&Detailed=True" + _DOTNET_3, 3, detailed=True
    ),
    LicenseList(  # classes/Customer.cryptolens.php, with its slip of the pen
        PHP, "/api/customer/GetCustomerLicenses", _PHP + "&CustomerId={customer}&Detailed=&Metdata=1"
    ),
    LicenseList(
        PHP, "/api/customer/GetCustomerLicensesBySecret", _PHP + "&Secret={secret}&Detailed=1", detailed=True
    ),
    LicenseList(BROWSER, "/api/customer/GetCustomerLicenses?customerId={customer}&token={token}", None),
    LicenseList(BROWSER, "/api/customer/GetCustomerLicensesBySecret?secret={secret}&token={token}", None),
)  # fmt: skip


# ---- messages, in a channel that has two: of 1537815311 and of 1537815312


@dataclass(frozen=True, slots=True)
class MessageRead(Recorded):
    """A request for messages: the times of those that it is answered."""

    times: tuple[int, ...] = ()


MESSAGE_READS = (
    MessageRead(
        DOTNET, "/api//message/getmessages/", "Channel={channel}&Time=0" + _DOTNET_END, times=(1_537_815_312, 1_537_815_311)
    ),
    MessageRead(
        DOTNET, "/api//message/getmessages/", "Channel={channel}&Time=1537815311" + _DOTNET_END, note="newer",
        times=(1_537_815_312,),
    ),
    MessageRead(
        JAVA, "/api/message/GetMessages", "Channel={channel}&Time=1537815311&token={token}", times=(1_537_815_312,)
    ),
    MessageRead(
        CPP, "/api/message/GetMessages", "token={token}&Channel={channel}&Time=0", times=(1_537_815_312, 1_537_815_311)
    ),
    MessageRead(
        CPP, "/api/message/GetMessages", "token={token}&Channel={channel}&Time=1537815312", note="nothing newer", times=()
    ),
    MessageRead(
        PHP, "/api/message/GetMessages", _PHP + "&Channel={channel}&Time=1537815310", times=(1_537_815_312, 1_537_815_311)
    ),
    MessageRead(
        BROWSER, "/api/message/GetMessages?token={token}&Channel={channel}", None, times=(1_537_815_312, 1_537_815_311)
    ),
)  # fmt: skip

READS_OF_ALL_CHANNELS = (
    Recorded(DOTNET, "/api//message/getmessages/", "Channel=&Time=0" + _DOTNET_END),
    Recorded(JAVA, "/api/message/GetMessages", "Time=0&token={token}"),
    Recorded(CPP, "/api/message/GetMessages", "token={token}&Channel=&Time=0"),
    Recorded(PHP, "/api/message/GetMessages", _PHP),
    Recorded(BROWSER, "/api/message/GetMessages?token={token}", None),
)

MESSAGE_ADDITIONS = (
    Recorded(DOTNET, "/api//message/createmessage/", "Content=v402+%26+more&Channel={channel}&Time=0" + _DOTNET_END),
    Recorded(PHP, "/api/message/CreateMessage", _PHP + "&Content=v402+%26+more&Channel={channel}"),
    Recorded(BROWSER, "/api/message/CreateMessage?token={token}&Content=v402%20%26%20more&Channel={channel}", None),
)

MESSAGE_REMOVALS = (
    Recorded(DOTNET, "/api//message/removemessage/", "Id={message}" + _DOTNET_END),
    Recorded(PHP, "/api/message/RemoveMessage", _PHP + "&Id={message}"),
    Recorded(BROWSER, "/api/message/RemoveMessage?token={token}&Id={message}", None),
)


# ---- events


@dataclass(frozen=True, slots=True)
class Registration(Recorded):
    """A request that registers events of a key: feature, event, value, currency, time (0: now) and metadata of each."""

    told: tuple[tuple[str, str, int, str, int, str | None], ...] = ()


_JSON = (
    '[{"FeatureName":"Export","EventName":"Åsa & Co","Value":3,"Currency":null,"Time":1537815311,"Metadata":null},'
    '{"FeatureName":null,"EventName":"pay","Value":2530,"Currency":"USD","Time":0,"Metadata":"{\\"a\\":1}"}]'
)
_TWO = (("Export", "Åsa & Co", 3, "", 1_537_815_311, None), ("", "pay", 2530, "USD", 0, '{"a":1}'))

REGISTRATIONS = (
    Registration(
        DOTNET, "/api//ai/registerevent/",
        "ProductId={product}&Key={key}&MachineCode={machine}&FeatureName=Export&EventName=click&Value=-3&Currency="
        "&Metadata=" + _DOTNET_END,
        told=(("Export", "click", -3, "", 0, None),),
    ),
    Registration(
        DOTNET, "/api//ai/registerevents/",
        "ProductId={product}&Key={key}&MachineCode={machine}&Events=" + dotnet(_JSON) + _DOTNET_END, told=_TWO,
    ),
    Registration(
        DOTNET, "/api//ai/registerevents/",
        "ProductId={product}&Key={key}&MachineCode={machine}&Events=%5b%5d" + _DOTNET_END, note="no events",
    ),
    Registration(
        JAVA, "/api/AI/RegisterEvent",
        "MachineCode={machine}&Currency=USD&Value=2530&ProductId={product}&EventName=click&Key={key}&FeatureName=Export"
        "&token={token}",
        told=(("Export", "click", 2530, "USD", 0, None),),
    ),
    Registration(  # classes/Analytics.cryptolens.php
        PHP, "/api/ai/RegisterEvent",
        _PHP + "&Key={key}&MachineCode={machine}&FeatureName=Export&EventName=click&Value=1&Currency="
        "&Metadata=%7B%22a%22%3A1%7D",
        told=(("Export", "click", 1, "", 0, '{"a":1}'),),
    ),
    Registration(
        BROWSER,
        "/api/ai/RegisterEvents?token={token}&ProductId={product}&Key={key}&MachineCode={machine}&Events="
        + component(_JSON),
        None, told=_TWO,
    ),
    Registration(
        CURL_JSON, "/api/ai/RegisterEvents",
        '{{"token":"{token}","ProductId":{product},"Key":"{key}","MachineCode":"{machine}",'
        '"Events":[{{"eventName":"pay","VALUE":1}}]}}',
        told=(("", "pay", 1, "", 0, None),),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventRead(Recorded):
    """A request for the events of a key that has three: of 1537815311, 1537815312 and 1537815313; those it is answered."""

    times: tuple[int, ...] = ()


_THREE = (1_537_815_311, 1_537_815_312, 1_537_815_313)

EVENT_READS = (
    EventRead(
        DOTNET, "/api//ai/getevents/", "Limit=0&StartingAfter=0&ProductId={product}&Key={key}" + _DOTNET_END, times=_THREE
    ),
    EventRead(  # what is null is sent empty
        PHP, "/api/ai/GetEvents", _PHP + "&Key={key}&Limit=2&StartingAfter=&EndingBefore=&Time=&Metadata=",
        times=_THREE[:2],
    ),
    EventRead(
        BROWSER,
        "/api/ai/GetEvents?token={token}&ProductId={product}&Key={key}&Limit=2"
        "&Time=%7B%22gte%22%3A1537815312%2C%22lt%22%3A1537815313%7D",
        None, times=_THREE[1:2],
    ),
    EventRead(
        BROWSER, "/api/ai/GetEvents?token={token}&ProductId={product}&Key={key}&Time=1537815313", None, note="one time",
        times=_THREE[2:],
    ),
)  # fmt: skip


# ---- derived tokens, and usage

KEY_LOCKS = (
    Recorded(DOTNET, "/api//auth/keylock/", "ProductId={product}&Key={key}" + _DOTNET_END),
    Recorded(DOTNET, "//api//auth/keylock/", "ProductId={product}&Key={key}" + _DOTNET_END, note="base URL with a slash"),
    Recorded(PHP, "/api/auth/keylock", _PHP + "&Key={key}"),
    Recorded(BROWSER, "/api/auth/KeyLock?token={token}&ProductId={product}&Key={key}", None),
)

USAGES = (
    Recorded(DOTNET, "/api//subscription/recordusage/", "ProductId={product}&Key={key}&Amount=2" + _DOTNET_END),
    Recorded(JAVA, "/api/subscription/recordusage/", "Amount=2&ProductId={product}&Key={key}&token={token}"),
    Recorded(PHP, "/api/subscription/RecordUsage", _PHP + "&Key={key}&Amount=2"),
    Recorded(BROWSER, "/api/subscription/RecordUsage?token={token}&ProductId={product}&Key={key}&Amount=2", None),
)
