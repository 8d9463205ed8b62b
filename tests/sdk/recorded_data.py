"""What the SDKs put on the wire for data objects: as it was recorded, or as their sources build it, as in `recorded`.

`{name}` and `{object}` are the name and the id of the object that is meant, `{global_id}` the number of the license.
Java's order of parameters is that of its HashMap.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from .recorded import BROWSER, DOTNET, JAVA, PHP, C, Recorded


class At(IntEnum):
    """What an object hangs at, by its number on the wire."""

    ACCOUNT = 0
    PRODUCT = 1
    KEY = 2
    MACHINE = 3


@dataclass(frozen=True, slots=True)
class Adding(Recorded):
    """A request for a new object, what it hangs at, and what it is then like beside its name."""

    at: At = At.KEY
    text: str = ""
    number: int = 0

    @property
    def is_unique(self) -> bool:
        """Whether it looks for duplicates."""
        return re.search("CheckForDuplicates=(true|1)", self.body or self.path, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Listing(Recorded):
    """A request for a list of what hangs somewhere; None: everywhere, and each says where."""

    at: At | None = At.KEY


@dataclass(frozen=True, slots=True)
class Change(Recorded):
    """A request that changes an object of text `old` and number 12: to these, or removes it. `again` is said to a second."""

    at: At = At.KEY
    after: tuple[str, int] | None = None
    again: str = ""


BOUND = "The bound has been reached."
OBJECT = "Not enough permission and/or key not found."

_DOTNET_END = "&token={token}&v=1&modelversion=1"
_DOTNET_KEY = "&ProductId={product}&Key={key}" + _DOTNET_END
_DOTNET_MACHINE = "&MachineCode={machine}" + _DOTNET_KEY  # a class's own properties come before inherited ones
_PHP = "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1"  # whatever the method: false is empty, true is 1
_C_KEY = "ProductId={product}&Key={key}"
_C_MACHINE = _C_KEY + "&MachineCode={machine}"
_GET_KEY = "?token={token}&ProductId={product}&Key={key}"


# ---- AddDataObject

_C_ADDED = "&token={token}&Name={name}&StringValue=a=b/é&IntValue=-7&CheckForDuplicates=false&v=1"
_C_ADDED_ONCE = "&token={token}&Name={name}&StringValue=&IntValue=0&CheckForDuplicates=true&v=1"

ADDITIONS = (
    Adding(
        DOTNET, "/api//data/adddataobject/",
        "Name={name}&StringValue=&IntValue=0&ReferencerType=Key&ReferencerId={global_id}&CheckForDuplicates=False"
        + _DOTNET_END,
        note="Key",
    ),
    Adding(
        DOTNET, "/api//data/adddataobject/",
        "Name={name}&StringValue=a+%26+b&IntValue=2147483647&ReferencerType=Product&ReferencerId={product}"
        "&CheckForDuplicates=True" + _DOTNET_END,
        note="Product", at=At.PRODUCT, text="a & b", number=2_147_483_647,
    ),
    Adding(
        DOTNET, "/api//data/adddataobject/",
        "Name={name}&StringValue=%c3%85sa&IntValue=-1&ReferencerType=User&ReferencerId=0&CheckForDuplicates=False"
        + _DOTNET_END,
        note="User", at=At.ACCOUNT, text="Åsa", number=-1,
    ),
    Adding(
        DOTNET, "/api//data/adddataobjecttokey/",
        "Name={name}&StringValue=text&IntValue=7&CheckForDuplicates=True" + _DOTNET_KEY, text="text", number=7,
    ),
    Adding(
        DOTNET, "//api//data/AddDataObjectToMachineCode/",
        "Name={name}&StringValue=text&IntValue=7&CheckForDuplicates=False" + _DOTNET_MACHINE,
        note="base URL with a slash", at=At.MACHINE, text="text", number=7,
    ),
    Adding(
        JAVA, "/api/data/AddDataObjectToKey",
        "ProductId={product}&StringValue=1%2B1&IntValue=-7&CheckForDuplicates=false&Key={key}&Name={name}&token={token}",
        text="1+1", number=-7,
    ),
    Adding(  # it leaves out what is null
        JAVA, "/api/data/AddDataObjectToKey",
        "ProductId={product}&IntValue=0&CheckForDuplicates=true&Key={key}&Name={name}&token={token}", note="no text",
    ),
    Adding(
        JAVA, "/api/data/AddDataObjectToMachineCode",
        "MachineCode={machine}&ProductId={product}&StringValue=text&IntValue=7&CheckForDuplicates=true&Key={key}"
        "&Name={name}&token={token}",
        at=At.MACHINE, text="text", number=7,
    ),
    Adding(
        C, "/api/data/AddDataObject", "ReferencerType=0" + _C_ADDED, note="account", at=At.ACCOUNT, text="a=b/é", number=-7
    ),
    Adding(
        C, "/api/data/AddDataObject", "ReferencerType=1&ReferencerId={product}" + _C_ADDED_ONCE, note="product",
        at=At.PRODUCT,
    ),
    Adding(C, "/api/data/AddDataObject", "ReferencerType=2&ReferencerId={global_id}" + _C_ADDED_ONCE, note="key id"),
    Adding(C, "/api/data/AddDataObjectToKey", _C_KEY + _C_ADDED, text="a=b/é", number=-7),
    Adding(C, "/api/data/AddDataObjectToMachineCode", _C_MACHINE + _C_ADDED_ONCE, at=At.MACHINE),
    Adding(  # classes/Data.cryptolens.php
        PHP, "/api/data/AddDataObject",
        _PHP + "&Name={name}&StringValue=text&IntValue=7&ReferencerType=1&ReferencerId={product}&CheckForDuplicates=1",
        at=At.PRODUCT, text="text", number=7,
    ),
    Adding(
        PHP, "/api/data/AddDataObject",
        _PHP + "&Name={name}&StringValue=&IntValue=0&ReferencerType=0&ReferencerId=0&CheckForDuplicates=", note="account",
        at=At.ACCOUNT,
    ),
    Adding(
        BROWSER,
        "/api/data/AddDataObject?token={token}&Name={name}&StringValue=a%20b&IntValue=7&ReferencerType=2"
        "&ReferencerId={global_id}",
        None, text="a b", number=7,
    ),
    Adding(
        BROWSER, "/api/data/AddDataObjectToKey" + _GET_KEY + "&Name={name}&CheckForDuplicates=True", None,
    ),
)  # fmt: skip


# ---- ListDataObjects

LISTINGS = (
    Listing(
        DOTNET, "/api//data/listdataobjects/",
        "ReferencerType=Key&ReferencerId={global_id}&Contains=&ShowAll=False" + _DOTNET_END, note="Key",
    ),
    Listing(
        DOTNET, "/api//data/listdataobjects/",
        "ReferencerType=Product&ReferencerId={product}&Contains={name}&ShowAll=False" + _DOTNET_END, note="Product",
        at=At.PRODUCT,
    ),
    Listing(
        DOTNET, "/api//data/listdataobjects/",
        "ReferencerType=User&ReferencerId=0&Contains={name}&ShowAll=False" + _DOTNET_END, note="User", at=At.ACCOUNT,
    ),
    Listing(
        DOTNET, "/api//data/listdataobjects/",
        "ReferencerType=User&ReferencerId=0&Contains={name}&ShowAll=True" + _DOTNET_END, note="everything", at=None,
    ),
    Listing(DOTNET, "/api//data/listdataobjectstokey/", "Contains=" + _DOTNET_KEY),
    Listing(DOTNET, "/api//data/listdataobjectstomachinecode/", "Contains={name}" + _DOTNET_MACHINE, at=At.MACHINE),
    Listing(JAVA, "/api/data/listdataobjectstokey", "Contains=&ProductId={product}&Key={key}&token={token}"),
    Listing(
        JAVA, "/api/data/listdataobjectstomachinecode",
        "MachineCode={machine}&Contains=&ProductId={product}&Key={key}&token={token}", at=At.MACHINE,
    ),
    Listing(
        C, "/api/data/ListDataObjects", "ReferencerType=0&token={token}&Contains={name}&v=1", note="account", at=At.ACCOUNT
    ),
    Listing(
        C, "/api/data/ListDataObjects", "ReferencerType=1&ReferencerId={product}&token={token}&Contains={name}&v=1",
        note="product", at=At.PRODUCT,
    ),
    Listing(
        C, "/api/data/ListDataObjects", "ReferencerType=2&ReferencerId={global_id}&token={token}&Contains=&v=1",
        note="key id",
    ),
    Listing(C, "/api/data/ListDataObjects", "ShowAll=true&token={token}&Contains={name}&v=1", note="everything", at=None),
    Listing(C, "/api/data/ListDataObjectsToKey", _C_KEY + "&token={token}&Contains=&v=1"),
    Listing(C, "/api/data/ListDataObjectsToMachineCode", _C_MACHINE + "&token={token}&Contains=&v=1", at=At.MACHINE),
    Listing(
        PHP, "/api/data/ListDataObjects", _PHP + "&ReferencerType=0&ReferencerId=0&Contains={name}&ShowAll=1",
        note="everything", at=None,
    ),
    Listing(
        PHP, "/api/data/ListDataObjects", _PHP + "&ReferencerType=2&ReferencerId={global_id}&Contains=&ShowAll=",
    ),
    Listing(BROWSER, "/api/data/ListDataObjectsToKey" + _GET_KEY, None),
    Listing(BROWSER, "/api/data/ListDataObjects?token={token}&ShowAll=True&Contains={name}", None, at=None),
)  # fmt: skip


# ---- SetIntValue, SetStringValue, IncrementIntValue, DecrementIntValue, RemoveDataObject

_UP = "&IntValue=3&EnableBound=True&Bound=15"  # to the bound: a second is refused
_DOWN = "&IntValue=12&EnableBound=True&Bound=0"
_UNBOUND = "&IntValue=-2&EnableBound=False&Bound=0"  # the sign does not matter
_JAVA_KEY = "&Key={key}&Name={name}&token={token}"
_JAVA_BY_ID = "ProductId={product}&Id={object}"
_JAVA_BY_NAME = "ProductId={product}&Id=0"  # it sends both, always
_JAVA_MACHINE = "MachineCode={machine}&"


def _c(amount: str, *, bounded: bool, bound: int) -> str:
    return f"&token={{token}}&IntValue={amount}&EnableBound={str(bounded).lower()}&Bound={bound}&v=1"


CHANGES = (
    Change(
        DOTNET, "/api//data/setintvalue/", "Id={object}&IntValue=-5&EnableBound=False&Bound=0" + _DOTNET_END,
        after=("old", -5),
    ),
    Change(
        DOTNET, "/api//data/setintvaluetokey/", "Id={object}&Name=&IntValue=5&EnableBound=False&Bound=0" + _DOTNET_KEY,
        note="id", after=("old", 5),
    ),
    Change(
        DOTNET, "/api//data/setintvaluetokey/", "Id=0&Name={name}&IntValue=0&EnableBound=False&Bound=0" + _DOTNET_KEY,
        note="name", after=("old", 0),
    ),
    Change(
        DOTNET, "/api//data/setintvaluetomachinecode/",
        "Id=0&Name={name}&IntValue=5&EnableBound=False&Bound=0" + _DOTNET_MACHINE, at=At.MACHINE, after=("old", 5),
    ),
    Change(
        DOTNET, "/api//data/setstringvalue/", "Id={object}&StringValue=%c3%85sa+%26+Co" + _DOTNET_END,
        after=("Åsa & Co", 12),
    ),
    Change(
        DOTNET, "/api//data/setstringvaluetokey/", "Id=0&Name={name}&StringValue=new" + _DOTNET_KEY, after=("new", 12)
    ),
    Change(
        DOTNET, "/api//data/setstringvaluetokey/", "Id={object}&Name=&StringValue=" + _DOTNET_KEY, note="empty",
        after=("", 12),
    ),
    Change(
        DOTNET, "/api//data/setstringvaluetomachinecode/", "Id={object}&Name=&StringValue=new" + _DOTNET_MACHINE,
        at=At.MACHINE, after=("new", 12),
    ),
    Change(DOTNET, "/api//data/incrementintvalue/", "Id={object}" + _UP + _DOTNET_END, after=("old", 15), again=BOUND),
    Change(
        DOTNET, "/api//data/incrementintvalue/", "Id={object}" + _UNBOUND + _DOTNET_END, note="product", at=At.PRODUCT,
        after=("old", 14),
    ),
    Change(
        DOTNET, "/api//data/incrementintvalue/", "Id={object}" + _UNBOUND + _DOTNET_END, note="account", at=At.ACCOUNT,
        after=("old", 14),
    ),
    Change(
        DOTNET, "/api//data/incrementintvaluetokey/", "Id=0&Name={name}" + _UNBOUND + _DOTNET_KEY, note="name",
        after=("old", 14),
    ),
    Change(
        DOTNET, "/api//data/incrementintvaluetokey/", "Id={object}&Name=" + _UP + _DOTNET_KEY, note="id",
        after=("old", 15), again=BOUND,
    ),
    Change(
        DOTNET, "/api//data/incrementintvaluetomachinecode/", "Id=0&Name={name}" + _UP + _DOTNET_MACHINE, at=At.MACHINE,
        after=("old", 15), again=BOUND,
    ),
    Change(DOTNET, "/api//data/decrementintvalue/", "Id={object}" + _UNBOUND + _DOTNET_END, after=("old", 10)),
    Change(
        DOTNET, "/api//data/decrementintvaluetokey/", "Id=0&Name={name}" + _DOWN + _DOTNET_KEY, after=("old", 0), again=BOUND
    ),
    Change(
        DOTNET, "/api//data/decrementintvaluetomachinecode/", "Id={object}&Name=" + _DOWN + _DOTNET_MACHINE, at=At.MACHINE,
        after=("old", 0), again=BOUND,
    ),
    Change(DOTNET, "/api//data/removedataobject/", "Id={object}" + _DOTNET_END, note="key", again=OBJECT),
    Change(
        DOTNET, "/api//data/removedataobject/", "Id={object}" + _DOTNET_END, note="account", at=At.ACCOUNT, again=OBJECT
    ),
    Change(DOTNET, "/api//data/removedataobjecttokey/", "Id=0&Name={name}" + _DOTNET_KEY, again=OBJECT),
    Change(
        DOTNET, "/api//data/removedataobjecttomachinecode/", "Id={object}" + _DOTNET_MACHINE, at=At.MACHINE, again=OBJECT
    ),
    Change(JAVA, "/api/data/setintvaluetokey", _JAVA_BY_NAME + "&IntValue=5" + _JAVA_KEY, note="name", after=("old", 5)),
    Change(
        JAVA, "/api/data/setintvaluetokey", _JAVA_BY_ID + "&IntValue=-5&Key={key}&Name=&token={token}", note="id",
        after=("old", -5),
    ),
    Change(
        JAVA, "/api/data/setintvaluetomachinecode", _JAVA_MACHINE + _JAVA_BY_NAME + "&IntValue=5" + _JAVA_KEY,
        at=At.MACHINE, after=("old", 5),
    ),
    Change(JAVA, "/api/data/setstringvaluetokey", _JAVA_BY_NAME + "&StringValue=new" + _JAVA_KEY, after=("new", 12)),
    Change(
        JAVA, "/api/data/setstringvaluetomachinecode", _JAVA_MACHINE + _JAVA_BY_NAME + "&StringValue=" + _JAVA_KEY,
        at=At.MACHINE, after=("", 12),
    ),
    Change(
        JAVA, "/api/data/incrementintvaluetokey",
        "Bound=15&" + _JAVA_BY_NAME + "&IntValue=3&Key={key}&Name={name}&EnableBound=true&token={token}", note="name",
        after=("old", 15), again=BOUND,
    ),
    Change(
        JAVA, "/api/data/incrementintvaluetokey",
        "Bound=0&" + _JAVA_BY_ID + "&IntValue=3&Key={key}&Name=&EnableBound=false&token={token}", note="id",
        after=("old", 15),
    ),
    Change(  # in the order of the protocol's example
        JAVA, "/api/data/incrementintvaluetokey",
        "token={token}&ProductId={product}&Key={key}&Id=0&Name={name}&IntValue=1&EnableBound=true&Bound=13", note="example",
        after=("old", 13), again=BOUND,
    ),
    Change(
        JAVA, "/api/data/incrementintvaluetomachinecode",
        _JAVA_MACHINE + "Bound=0&" + _JAVA_BY_NAME + "&IntValue=1&Key={key}&Name={name}&EnableBound=false&token={token}",
        at=At.MACHINE, after=("old", 13),
    ),
    Change(
        JAVA, "/api/data/decrementintvaluetokey",
        "Bound=0&" + _JAVA_BY_NAME + "&IntValue=12&Key={key}&Name={name}&EnableBound=true&token={token}",
        after=("old", 0), again=BOUND,
    ),
    Change(
        JAVA, "/api/data/decrementintvaluetomachinecode",
        _JAVA_MACHINE + "Bound=0&" + _JAVA_BY_ID + "&IntValue=1&Key={key}&Name=&EnableBound=false&token={token}",
        at=At.MACHINE, after=("old", 11),
    ),
    Change(JAVA, "/api/data/removedataobjecttokey", _JAVA_BY_NAME + _JAVA_KEY, note="name", again=OBJECT),
    Change(
        JAVA, "/api/data/removedataobjecttokey", _JAVA_BY_ID + "&Key={key}&Name=&token={token}", note="id", again=OBJECT
    ),
    Change(
        JAVA, "/api/data/removedataobjecttomachinecode", _JAVA_MACHINE + _JAVA_BY_NAME + _JAVA_KEY, at=At.MACHINE,
        again=OBJECT,
    ),
    Change(
        C, "/api/data/IncrementIntValue", "Id={object}" + _c("3", bounded=True, bound=15), after=("old", 15), again=BOUND
    ),
    Change(
        C, "/api/data/IncrementIntValueToKey", _C_KEY + "&Name={name}" + _c("3", bounded=False, bound=0), after=("old", 15)
    ),
    Change(
        C, "/api/data/IncrementIntValueToMachineCode", _C_MACHINE + "&Name={name}" + _c("1", bounded=True, bound=13),
        at=At.MACHINE, after=("old", 13), again=BOUND,
    ),
    Change(C, "/api/data/DecrementIntValue", "Id={object}" + _c("-1", bounded=False, bound=0), after=("old", 11)),
    Change(
        C, "/api/data/DecrementIntValueToKey", _C_KEY + "&Name={name}" + _c("12", bounded=True, bound=0), after=("old", 0),
        again=BOUND,
    ),
    Change(
        C, "/api/data/DecrementIntValueToMachineCode", _C_MACHINE + "&Name={name}" + _c("1", bounded=False, bound=0),
        at=At.MACHINE, after=("old", 11),
    ),
    Change(PHP, "/api/data/SetIntValue", _PHP + "&Id={object}&IntValue=5", after=("old", 5)),
    Change(PHP, "/api/data/SetIntValue", _PHP + "&Id={object}&IntValue=", note="null", after=("old", 0)),
    Change(PHP, "/api/data/SetStringValue", _PHP + "&Id={object}&StringValue=a+%26+b", after=("a & b", 12)),
    Change(
        PHP, "/api/data/IncrementIntValue", _PHP + "&Id={object}&IntValue=3&EnableBound=1&Bound=15", note="bound",
        after=("old", 15), again=BOUND,
    ),
    Change(
        PHP, "/api/data/IncrementIntValue", _PHP + "&Id={object}&IntValue=3&EnableBound=&Bound=0", at=At.PRODUCT,
        after=("old", 15),
    ),
    Change(PHP, "/api/data/DecrementIntValue", _PHP + "&Id={object}&IntValue=1&EnableBound=&Bound=0", after=("old", 11)),
    Change(PHP, "/api/data/RemoveDataObject", _PHP + "&Id={object}", at=At.PRODUCT, again=OBJECT),
    Change(  # the documentation: what is no int32 becomes 0
        BROWSER, "/api/data/SetIntValueToKey" + _GET_KEY + "&Name={name}&IntValue=2147483648", None, after=("old", 0)
    ),
    Change(
        BROWSER, "/API/DATA/INCREMENTINTVALUETOKEY" + _GET_KEY + "&name={name}&intvalue=3&enablebound=1&bound=15", None,
        after=("old", 15), again=BOUND,
    ),
    Change(BROWSER, "/api/data/RemoveDataObject?token={token}&Id={object}", None, again=OBJECT),
)  # fmt: skip
