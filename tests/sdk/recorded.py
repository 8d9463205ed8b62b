"""What the SDKs put on the wire, as it was recorded or as their sources build it, and how to send it unchanged.

Sources: the protocol's recorded bodies; else the SDK's own source, which the row names. A body is a template: `{token}`,
`{key}` and so on are put in the way the SDK escapes values. Nothing here is parsed, sorted or normalised.
"""

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

FORM = "application/x-www-form-urlencoded"


def dotnet(text: str) -> str:
    """Escape as HttpUtility.UrlEncode does: hexadecimal digits in small letters."""
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quote_plus(text, safe="!()*-._"))


def raw(text: str) -> str:
    """Escape nothing, as the C SDK does."""
    return text


def component(text: str) -> str:
    """Escape as JavaScript does in a query: a blank is %20."""
    return quote(text, safe="!'()*-._~")


@dataclass(frozen=True, slots=True)
class Sdk:
    """How an SDK speaks, whatever it says: its headers (the versions in them are examples) and how it escapes values."""

    name: str
    headers: Mapping[str, str]
    escape: Callable[[str], str] = quote_plus
    expects_100: bool = False


DOTNET = Sdk(".NET", {"User-Agent": "Cryptolens.Licensing/4.0.50", "Content-Type": FORM}, dotnet, expects_100=True)
PYTHON = Sdk(
    "Python",
    {"Accept-Encoding": "identity", "Content-Type": FORM, "User-Agent": "Python-urllib/3.11", "Connection": "close"},
)
NODE = Sdk(
    "Node",
    {
        "user-agent": "got (https://github.com/sindresorhus/got)", "accept": "application/json", "content-type": FORM,
        "accept-encoding": "gzip, deflate, br",
    },
)  # fmt: skip
JAVA = Sdk(
    "Java",
    {"User-Agent": "Java/17.0.12", "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "Content-type": FORM},
)
GO = Sdk("Go", {"User-Agent": "Go-http-client/1.1", "Content-Type": FORM, "Accept-Encoding": "gzip"})
C = Sdk("C", {"Accept": "*/*", "Content-Type": FORM}, raw)
CPP = Sdk("C++", {"Accept": "*/*", "Content-Type": FORM}, component)
PHP = Sdk("PHP", {"Accept": "*/*", "Content-Type": FORM})
RUST = Sdk("Rust", {"Content-Type": FORM, "Accept": "*/*"})
N8N = Sdk("n8n", {"Accept": "application/json", "Content-Type": "application/json", "token": "{token}"}, component)
BROWSER = Sdk("a browser", {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "gzip, br"}, component)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request. A body None is a GET: then the path has the query. `note` tells apart what one SDK sends in one place."""

    sdk: Sdk
    path: str
    body: str | None
    model_version: int = 1
    linq: bool = False
    metadata: bool = False
    note: str = ""

    @property
    def id(self) -> str:
        """A name for a test."""
        return " ".join(filter(None, (self.sdk.name, self.path.partition("?")[0], self.note)))

    def send(self, url: str, **values: object) -> Answer:
        """Send it with these values in it, byte for byte, on a connection of its own."""
        escaped = {name: self.sdk.escape(str(value)) for name, value in values.items()}
        as_they_are = {name: str(value) for name, value in values.items()}
        body = None if self.body is None else self.body.format(**escaped).encode()
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=15)
        try:
            connection.putrequest("GET" if body is None else "POST", self.path.format(**escaped), skip_accept_encoding=True)
            for name, value in self.sdk.headers.items():
                connection.putheader(name, value.format(**as_they_are))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            if self.sdk.expects_100:
                connection.putheader("Expect", "100-continue")
            connection.endheaders()
            if self.sdk.expects_100:
                _await_100(connection)
            connection.send(body or b"")
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


def _await_100(connection: http.client.HTTPConnection) -> None:
    """Wait for the interim answer, as .NET does (it gives up after 350 ms, and every call would last as long)."""
    interim = b""
    while not interim.endswith(b"\r\n\r\n"):
        received = connection.sock.recv(1)  # no more than it: what follows is the answer's
        assert received, "the connection was closed instead of continued"
        interim += received
    assert interim.startswith(b"HTTP/1.1 100 ")


# ---- Activate

_OS_INFO = "%7b%22OSName%22%3a%22Unix%22%2c%22OSVersion%22%3a%226.8.0.0%22%2c%22Is64Bit%22%3atrue%7d"


def _dotnet_activate(method: str, *, metadata: bool, os: str) -> str:
    return (
        "ProductId={product}&Key={key}&Sign=True&MachineCode={machine}&FriendlyName=&FieldsToReturn=0"
        f"&Metadata={metadata}&FloatingTimeInterval=0&MaxOverdraft=0&SignMethod={method}&OSInfo={os}"
        "&token={token}&v=1&modelversion=3"
    )


_NODE_ACTIVATE = (
    "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&FieldsToReturn=0&Metadata=false"
    "&FloatingTimeInterval=0&MaxOverdraft=0&Sign=true&SignMethod=1"
)
_C_ACTIVATE = "token={token}&ProductId={product}&Key={key}&Sign=true&MachineCode={machine}&ModelVersion=3&SignMethod=1&v=1"

ACTIVATIONS = (
    Recorded(
        DOTNET, "/api//key/activate/", _dotnet_activate("LinqSign", metadata=True, os="os"), 3, linq=True, metadata=True,
        note="LinqSign",
    ),
    Recorded(DOTNET, "/api//key/activate/", _dotnet_activate("StringSign", metadata=False, os=""), 3, note="StringSign"),
    Recorded(
        DOTNET, "//api//key/activate/", _dotnet_activate("StringSign", metadata=True, os=_OS_INFO), 3, metadata=True,
        note="base URL with a slash",
    ),
    Recorded(
        PYTHON, "/api/key/activate",
        "token={token}&ProductId={product}&key={key}&MachineCode={machine}&FieldsToReturn=0&metadata=False"
        "&FloatingTimeInterval=0&MaxOverdraft=0&FriendlyName=None&ModelVersion=3&Sign=True&SignMethod=1",
        3,
    ),
    Recorded(NODE, "/api/key/Activate", _NODE_ACTIVATE),
    Recorded(NODE, "//api/key/Activate", _NODE_ACTIVATE, note="base URL with a slash"),
    Recorded(
        JAVA, "/api/key/activate",
        "MachineCode={machine}&FriendlyName=&FieldsToReturn=0&Metadata=false&MaxOverdraft=0&ProductId={product}"
        "&FloatingTimeInterval=0&Sign=true&ModelVersion=3&SignMethod=1&Key={key}&token={token}",
        3,
    ),
    Recorded(
        GO, "/api/key/Activate",
        "FieldsToReturn=0&FloatingTimeInterval=0&Key={key}&MachineCode={machine}&MaxOverdraft=0&ProductId={product}"
        "&Sign=true&SignMethod=1&token={token}",
    ),
    Recorded(C, "/api/key/Activate", _C_ACTIVATE, 3),
    Recorded(
        CPP, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&Sign=true&MachineCode={machine}&FieldsToReturn=0&SignMethod=1"
        "&ModelVersion=3&v=1",
        3,
    ),
    Recorded(  # include/cryptolens/basic_Cryptolens.hpp: before it asked for a model version
        CPP, "/api/key/Activate",
        "v=1&SignMethod=1&FieldsToReturn=0&MachineCode={machine}&Sign=true&Key={key}&ProductId={product}&token={token}",
        note="before 2022",
    ),
    Recorded(  # Cryptolens_old.php
        PHP, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&Sign=True&MachineCode={machine}&SignMethod=1&v=1", note="function",
    ),
    Recorded(  # classes/Key.cryptolens.php
        PHP, "/api/key/activate",
        "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&Key={key}&MachineCode={machine}", note="class",
    ),
    Recorded(  # src/client/key.rs: optional parameters only if set
        RUST, "/api/key/Activate", "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&SignMethod=1",
        note="least",
    ),
    Recorded(
        RUST, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&Sign=true&MachineCode={machine}&FriendlyName=&FieldsToReturn=0"
        "&SignMethod=1&Metadata=true&FloatingTimeInterval=0&MaxOverdraft=0&OSInfo=linux&ModelVersion=2&v=1",
        2, metadata=True, note="most",
    ),
    Recorded(  # src/lib.rs of its first release
        RUST, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&FieldsToReturn=0&FloatingTimeInterval=0"
        "&MaxOverdraft=0&Sign=true&SignMethod=1&v=1",
        note="first release",
    ),
    Recorded(
        BROWSER,
        "/API/KEY/ACTIVATE?token={token}&productid={product}&key={key}&machinecode={machine}&sign=1&signmethod=1"
        "&modelversion=3",
        None, 3,
    ),
    Recorded(  # the documentation's examples: signed only if asked, an object unless told
        BROWSER, "/api/key/Activate?token={token}&ProductId={product}&Key={key}&Sign=True&MachineCode={machine}", None,
        linq=True, note="documentation",
    ),
)  # fmt: skip

# ---- floating seats: an SDK that always sends the parameters has one method for both kinds of activation

INTERVAL = 100  # seconds
_NOT_FLOATING, _NO_OVERDRAFT = "FloatingTimeInterval=0", "MaxOverdraft=0"


def _floating(request: Recorded) -> Recorded:
    body = (request.body or "").replace(_NOT_FLOATING, f"FloatingTimeInterval={INTERVAL}")
    return replace(request, body=body)


def overdrawn(request: Recorded) -> Recorded:
    """Return a request that may take one seat above the limit."""
    return replace(request, body=(request.body or "").replace(_NO_OVERDRAFT, "MaxOverdraft=1"))


FLOATING_WITH_OVERDRAFT = tuple(_floating(each) for each in ACTIVATIONS if _NOT_FLOATING in (each.body or ""))
FLOATING = (
    *FLOATING_WITH_OVERDRAFT,
    Recorded(
        C, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&Sign=true&MachineCode={machine}&ModelVersion=3&SignMethod=1"
        f"&FloatingTimeInterval={INTERVAL}&v=1",
        3,
    ),
    Recorded(  # include/cryptolens/basic_Cryptolens.hpp: activate_floating knows no overdraft
        CPP, "/api/key/Activate",
        "token={token}&ProductId={product}&Key={key}&Sign=true&MachineCode={machine}&FieldsToReturn=0&SignMethod=1"
        f"&ModelVersion=3&v=1&FloatingTimeInterval={INTERVAL}",
        3,
    ),
    Recorded(
        BROWSER,
        "/API/KEY/ACTIVATE?token={token}&productid={product}&key={key}&machinecode={machine}&sign=1&signmethod=1"
        f"&modelversion=2&floatingtimeinterval={INTERVAL}",
        None, 2,
    ),
)  # fmt: skip


# ---- GetKey

READS = (
    Recorded(  # SKMv3/Key.cs GetKey; it has no choice of the signature's form
        DOTNET, "/api//key/getkey/",
        "ProductId={product}&Key={key}&Sign=True&FieldsToReturn=0&Metadata=True&token={token}&v=1&modelversion=3",
        3, linq=True, metadata=True,
    ),
    Recorded(
        PYTHON, "/api/key/getkey",
        "token={token}&ProductId={product}&key={key}&FieldsToReturn=0&metadata=False&FloatingTimeInterval=0&Sign=True"
        "&ModelVersion=3&SignMethod=1",
        3,
    ),
    Recorded(
        NODE, "//api/key/GetKey",
        "token={token}&ProductId={product}&Key={key}&FieldsToReturn=0&Metadata=false&Sign=true&SignMethod=1",
    ),
    Recorded(
        JAVA, "/api/key/getkey",
        "FieldsToReturn=0&Metadata=false&ProductId={product}&FloatingTimeInterval=0&Sign=true&ModelVersion=3"
        "&SignMethod=1&Key={key}&token={token}",
        3,
    ),
    Recorded(
        CPP, "/api/key/GetKey",
        "token={token}&ProductId={product}&Key={key}&Sign=true&FieldsToReturn=0&SignMethod=1&v=1",
    ),
    Recorded(
        PHP, "/api/key/getKey", "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&Key={key}", note="class"
    ),
)  # fmt: skip

# With an interval, and metadata to see the seats counted: .NET sends none with GetKey.
FLOATING_READS = (
    Recorded(
        PYTHON, "/api/key/getkey",
        "token={token}&ProductId={product}&key={key}&FieldsToReturn=0&metadata=True"
        f"&FloatingTimeInterval={INTERVAL}&Sign=True&ModelVersion=3&SignMethod=1",
        3, metadata=True,
    ),
    Recorded(
        JAVA, "/api/key/getkey",
        f"FieldsToReturn=0&Metadata=true&ProductId={{product}}&FloatingTimeInterval={INTERVAL}&Sign=true&ModelVersion=3"
        "&SignMethod=1&Key={key}&token={token}",
        3, metadata=True,
    ),
)  # fmt: skip


# ---- Deactivate

DEACTIVATIONS = (
    Recorded(  # Models/WebAPIModels.cs: a class's own properties come before inherited ones
        DOTNET, "/api//key/deactivate/",
        "MachineCode={machine}&Floating=False&OSInfo=&ProductId={product}&Key={key}&token={token}&v=1&modelversion=1",
    ),
    Recorded(
        PYTHON, "/api/key/deactivate",
        "token={token}&ProductId={product}&Key={key}&Floating=False&MachineCode={machine}",
    ),
    Recorded(
        NODE, "/api/key/Deactivate",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&Floating=false&OSInfo=null",
    ),
    Recorded(
        JAVA, "/api/key/deactivate",
        "MachineCode={machine}&ProductId={product}&Floating=false&Key={key}&token={token}",
    ),
    Recorded(C, "/api/key/Deactivate", "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&v=1"),
    Recorded(CPP, "/api/key/Deactivate", "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&v=1"),
    Recorded(
        PHP, "/api/key/deactivate",
        "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&Key={key}&MachineCode={machine}", note="class",
    ),
)  # fmt: skip

RELEASES = (
    Recorded(
        DOTNET, "/api//key/deactivate/",
        "MachineCode={machine}&Floating=True&OSInfo=&ProductId={product}&Key={key}&token={token}&v=1&modelversion=1",
    ),
    Recorded(
        PYTHON, "/api/key/deactivate",
        "token={token}&ProductId={product}&Key={key}&Floating=True&MachineCode={machine}",
    ),
    Recorded(
        NODE, "/api/key/Deactivate",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&Floating=true&OSInfo=null",
    ),
    Recorded(
        JAVA, "/api/key/deactivate",
        "MachineCode={machine}&ProductId={product}&Floating=true&Key={key}&token={token}",
    ),
    Recorded(
        C, "/api/key/Deactivate",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&Floating=true&v=1",
    ),
    Recorded(  # include/cryptolens/basic_Cryptolens.hpp, since it knows floating seats
        CPP, "/api/key/Deactivate",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&Floating=true&v=1",
    ),
)  # fmt: skip


# ---- CreateTrialKey

TRIALS = (
    Recorded(
        DOTNET, "/api//key/createtrialkey/",
        "ProductId={product}&MachineCode={machine}&FriendlyName=&token={token}&v=1&modelversion=1",
    ),
    Recorded(
        PYTHON, "/api/key/createtrialkey",
        "token={token}&ProductId={product}&MachineCode={machine}&FriendlyName=",
    ),
    Recorded(NODE, "/api/key/CreateTrialKey", "token={token}&ProductId={product}&MachineCode={machine}"),
    Recorded(JAVA, "/api/key/createtrialkey", "MachineCode={machine}&ProductId={product}&token={token}"),
    Recorded(CPP, "/api/Key/CreateTrialKey", "token={token}&ProductId={product}&MachineCode={machine}&v=1"),
    Recorded(
        PHP, "/api/key/createTrialKey",
        "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&MachineCode={machine}", note="class",
    ),
)  # fmt: skip


# ---- managing licenses: the token is the vendor's own


@dataclass(frozen=True, slots=True)
class Creation(Recorded):
    """A request for new keys, what the license is then like, and what its new customer is called, if it has one."""

    license: Mapping[str, object] = field(default_factory=dict)
    keys: int = 1
    customer: Mapping[str, object] = field(default_factory=dict)


CREATIONS = (
    Creation(
        DOTNET, "/api//key/createkey/",
        "ProductId={product}&Period=30&F1=True&F2=False&F3=False&F4=False&F5=False&F6=False&F7=False&F8=True"
        "&Notes=Order+77&Block=False&CustomerId=0&TrialActivation=False&AutomaticActivation=False&MaxNoOfMachines=2"
        "&AllowedMachines=&ResellerId=0&NoOfKeys=0&NewCustomer=False&AddOrUseExistingCustomer=False&Name=&Email="
        "&CompanyName=&EnableCustomerAssociation=False&AllowActivationManagement=False"
        "&AllowMultipleUserAssociation=False&token={token}&v=1&modelversion=1",
        license={"Period": 30, "F1": True, "F2": False, "F8": True, "Notes": "Order 77", "MaxNoOfMachines": 2},
    ),
    Creation(
        PYTHON, "/api/key/createkey",
        "token={token}&ProductId={product}&Period=0&F1=False&F2=False&F3=False&F4=False&F5=False&F6=False&F7=False"
        "&F8=False&Notes=&Block=False&CustomerId=0&NewCustomer=False&AddOrUseExistingCustomer=False"
        "&TrialActivation=False&MaxNoOfMachines=0&NoOfKeys=1&Name=None&Email=None&CompanyName=None"
        "&EnableCustomerAssociation=False&AllowActivationManagement=False",
        license={"Period": 0, "F1": False, "Notes": "", "MaxNoOfMachines": 0, "Customer": None},
    ),
    Creation(
        NODE, "/api/key/CreateKey",
        "token={token}&ProductId={product}&Period=30&Notes=&Block=false&CustomerId=null&TrialActivation=true"
        "&MaxNoOfMachines=0&AllowedMachines=null&ResellerId=0&NoOfKeys=2&F1=false&F2=false&F3=true&F4=false&F5=false"
        "&F6=false&F7=false&F8=false&NewCustomer=false&AddOrUseExistingCustomer=false",
        license={"Period": 30, "F3": True, "TrialActivation": True, "AllowedMachines": ""}, keys=2,
    ),
    Creation(
        PHP, "/api/key/createKey", "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&Period=30&F1=True",
        license={"Period": 30, "F1": True}, note="class",
    ),
    Creation(
        DOTNET, "/api//key/createkey/",
        "ProductId={product}&Period=30&F1=False&F2=False&F3=False&F4=False&F5=False&F6=False&F7=False&F8=False&Notes=mine"
        "&Block=False&CustomerId=0&TrialActivation=False&AutomaticActivation=False&MaxNoOfMachines=0&AllowedMachines="
        "&ResellerId=0&NoOfKeys=0&NewCustomer=True&AddOrUseExistingCustomer=False&Name=%c3%85sa+%26+Co"
        "&Email=asa%40example.test&CompanyName=&EnableCustomerAssociation=False&AllowActivationManagement=False"
        "&AllowMultipleUserAssociation=False&token={token}&v=1&modelversion=1",
        license={"Notes": "mine"}, note="new customer",
        customer={"Name": "Åsa & Co", "Email": "asa@example.test", "CompanyName": ""},
    ),
    Creation(  # classes/Key.cryptolens.php: true is 1
        PHP, "/api/key/createkey",
        "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&NoOfKeys=2&NewCustomer=1&Name=Bob"
        "&CompanyName=Acme+AB",
        keys=2, note="new customer", customer={"Name": "Bob", "Email": "", "CompanyName": "Acme AB"},
    ),
    Creation(  # nodes/CryptolensDevolens/resources/key/create.ts; the optional key string is none of this method's
        N8N,
        "/api/key/CreateKey?ProductId={product}&Period=30&Key=&Notes=Bought%20online&F1=true&F2=false&F3=false&F4=false"
        "&F5=false&F6=false&F7=false&F8=false&Block=false&CustomerId=0&MaxNoOfMachines=5&TrialActivation=false"
        "&token={token}",
        None, license={"Period": 30, "F1": True, "Notes": "Bought online", "MaxNoOfMachines": 5},
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit(Recorded):
    """A request that changes a license, and what of it is different afterwards.

    Before, it has period 30, limit 2, feature 2, the notes `before`, a countdown at activation, and a customer.
    """

    after: Mapping[str, object] = field(default_factory=dict)


_DOTNET_KEY = "ProductId={product}&Key={key}&token={token}&v=1&modelversion=1"
_PYTHON_KEY = "token={token}&ProductId={product}&Key={key}"
_PHP_KEY = "token={token}&ProductId={product}&Sign=True&v=1&SignMethod=1&Key={key}"

EDITS = (
    Edit(DOTNET, "/api//key/blockkey/", _DOTNET_KEY, after={"Block": True}),
    Edit(DOTNET, "/api//key/unblockkey/", _DOTNET_KEY),
    Edit(
        DOTNET, "/api//key/machinelocklimit/", "NumberOfMachines=5&" + _DOTNET_KEY, after={"MaxNoOfMachines": 5}
    ),
    Edit(DOTNET, "/api//key/extendlicense/", "NoOfDays=10&" + _DOTNET_KEY, after={"Period": 40}),
    Edit(  # FeatureModel has all three properties itself
        DOTNET, "/api//key/addfeature/", "ProductId={product}&Key={key}&Feature=3&token={token}&v=1&modelversion=1",
        after={"F3": True},
    ),
    Edit(
        DOTNET, "/api//key/removefeature/", "ProductId={product}&Key={key}&Feature=2&token={token}&v=1&modelversion=1",
        after={"F2": False},
    ),
    Edit(
        DOTNET, "/api//key/changenotes/", "Notes=Order+77+%26+more&" + _DOTNET_KEY, after={"Notes": "Order 77 & more"}
    ),
    Edit(DOTNET, "/api//key/changenotes/", "Notes=&" + _DOTNET_KEY, after={"Notes": ""}, note="empty"),
    Edit(DOTNET, "/api//key/changecustomer/", "CustomerId=0&" + _DOTNET_KEY, after={"Customer": None}),
    Edit(PYTHON, "/api//key/BlockKey", _PYTHON_KEY, after={"Block": True}),
    Edit(PYTHON, "/api//key/UnblockKey", _PYTHON_KEY),
    Edit(
        PYTHON, "/api//key/MachineLockLimit", _PYTHON_KEY + "&NumberOfMachines=5", after={"MaxNoOfMachines": 5}
    ),
    Edit(PYTHON, "/api/key/ExtendLicense", _PYTHON_KEY + "&NoOfDays=-10", after={"Period": 20}),
    Edit(
        NODE, "/api/key/ExtendLicense", "token={token}&productId={product}&key={key}&noOfDays=10", after={"Period": 40}
    ),
    Edit(JAVA, "/api/key/extendlicense", "NoOfDays=10&ProductId={product}&Key={key}&token={token}", after={"Period": 40}),
    Edit(PHP, "/api/key/blockKey", _PHP_KEY, after={"Block": True}),
    Edit(PHP, "/api/key/unblockkey", _PHP_KEY),
    Edit(PHP, "/api/key/addfeature", _PHP_KEY + "&Feature=8", after={"F8": True}),
    Edit(PHP, "/api/key/removefeature", _PHP_KEY + "&Feature=2", after={"F2": False}),
    Edit(PHP, "/api/key/extendlicense", _PHP_KEY + "&NoOfDays=-10", after={"Period": 20}),
    Edit(PHP, "/api/key/machineLockLimit", _PHP_KEY + "&NumberOfMachines=0", after={"MaxNoOfMachines": 0}),
    Edit(
        N8N, "/api/key/BlockKey?ProductId={product}&Key={key}&token={token}", None, after={"Block": True}
    ),
    Edit(N8N, "/api/key/UnblockKey?ProductId={product}&Key={key}&v=1&token={token}", None),
    Edit(
        N8N, "/api/key/AddFeature?ProductId={product}&Key={key}&Feature=1&v=1&token={token}", None, after={"F1": True}
    ),
    Edit(
        N8N, "/api/key/RemoveFeature?ProductId={product}&Key={key}&Feature=2&token={token}", None, after={"F2": False}
    ),
    Edit(
        BROWSER, "/api/key/ChangeNotes?token={token}&productId={product}&key={key}&notes=Order%2077", None,
        after={"Notes": "Order 77"},
    ),
    Edit(
        BROWSER, "/api/key/ChangeCustomer?token={token}&ProductId={product}&Key={key}", None, after={"Customer": None},
        note="nobody",
    ),
    Edit(  # what is missing is False
        BROWSER, "/api/key/TrialActivation?token={token}&ProductId={product}&Key={key}", None,
        after={"TrialActivation": False},
    ),
    Edit(
        N8N, "/api/key/ExtendLicense?ProductId={product}&Key={key}&NoOfDays=10&token={token}", None, after={"Period": 40}
    ),
)  # fmt: skip


# ---- GetWebAPILog of a key that was created, activated and refused: 3010, 2011, 2023


@dataclass(frozen=True, slots=True)
class LogRead(Recorded):
    """A request for the log, and the states that it is answered."""

    states: tuple[int, ...] = ()


LOG_READS = (
    LogRead(
        DOTNET, "/api//ai/getwebapilog/",
        "Limit=10&StartingAfter=0&EndingBefore=0&ProductId={product}&Key={key}&FriendlyName=&States=%5b2011%2c2023%5d"
        "&OrderBy=Id+descending&token={token}&v=1&modelversion=1",
        states=(2023, 2011),
    ),
    LogRead(
        DOTNET, "/api//ai/getwebapilog/",
        "Limit=0&StartingAfter=0&EndingBefore=0&ProductId={product}&Key={key}&FriendlyName=&States=&OrderBy=&token={token}"
        "&v=1&modelversion=1",
        states=(3010, 2011, 2023), note="nothing set",
    ),
    LogRead(
        PYTHON, "/api/ai/getwebapilog",
        "token={token}&ProductId={product}&Key={key}&MachineCode={machine}&FriendlyName=None&Limit=10&StartingAfter=0"
        "&OrderBy=&EndingBefore=0",
        states=(2011,),
    ),
    LogRead(
        N8N,
        "/api/ai/GetWebAPILog?ProductId={product}&Key={key}&MachineCode=&FriendlyName=&States=&Time=&Limit=50"
        "&StartingAfter=0&EndingBefore=0&OrderBy=ID%20descending&AnomalyClassification=false&v=1&token={token}",
        None, states=(2023, 2011, 3010),
    ),
    LogRead(
        N8N,
        "/api/ai/GetWebAPILog?ProductId={product}&Key={key}&MachineCode=&FriendlyName="
        "&States=%5B3010%2C2011%5D&Time=%7B%22gt%22%3A1742208215%7D&Limit=1&StartingAfter=0&EndingBefore=0"
        "&OrderBy=Time%20ascending&AnomalyClassification=true&v=1&token={token}",
        None, states=(3010,), note="filtered",
    ),
)  # fmt: skip


TRIAL_ACTIVATION = Recorded(
    BROWSER, "/api/key/TrialActivation?token={token}&ProductId={product}&Key={key}&Enabled=True", None
)
