"""THE TABLE is sound: every row is whole, and a new method is one request class, one handler and one row."""

import inspect
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

import server.handlers
from server import account, cli
from server.methods import METHODS, PERMISSIONS, Method
from server.rules.codes import Code
from server.rules.grants import Caller, Names
from server.services import Services
from server.wire import encode, parse, replies, requests

KIB = 1024
HANDLERS = tuple(import_module(f"server.handlers.{each.name}") for each in iter_modules(server.handlers.__path__))
FORMS = ("", "ToKey", "ToMachineCode")
OBJECTS = {
    f"data/{name}{form}"
    for name in ("AddDataObject", "ListDataObjects", "RemoveDataObject", "SetStringValue")
    for form in FORMS
}
COUNTERS = {f"data/{name}IntValue{form}" for name in ("Set", "Increment", "Decrement") for form in FORMS}
LONG_TEXTS = {
    *(f"data/{name}{form}" for name in ("AddDataObject", "SetStringValue") for form in FORMS),
    "message/CreateMessage", "ai/RegisterEvent",
}  # fmt: skip
AT_EVERY_START = {"key/Activate", "key/GetKey", "key/Deactivate", "key/CreateTrialKey", *COUNTERS}
# What client software calls: it sends no multipart form (protocol: transport).
BY_CLIENTS = {
    *AT_EVERY_START, *OBJECTS, "message/GetMessages", "ai/RegisterEvent", "ai/RegisterEvents", "auth/KeyLock",
    "subscription/RecordUsage", "customer/GetCustomerLicensesBySecret",
}  # fmt: skip
# The bounds of bodies, in KiB; 64 for all others.
BODIES = {**dict.fromkeys(AT_EVERY_START, 16), **dict.fromkeys(LONG_TEXTS, 128), "ai/RegisterEvents": 1024}


def name_of(method: Method) -> str:
    return method.path


each_method = pytest.mark.parametrize("method", METHODS, ids=name_of)


@each_method
def test_a_handler_takes_services_a_request_and_now_and_says_what_it_does(method: Method) -> None:
    assert inspect.iscoroutinefunction(method.handler)
    hints = get_type_hints(method.handler)
    assert list(inspect.signature(method.handler).parameters) == ["svc", "ask", "now"]
    assert (hints["svc"], hints["now"]) == (Services, int)
    assert method.ask in (get_args(hints["ask"]) or (hints["ask"],))  # a handler may serve several forms of a request
    assert hints["return"] in get_args(replies.Reply)
    summary = (inspect.getdoc(method.handler) or "").partition("\n")[0]
    assert summary.endswith(".")


@each_method
def test_a_path_is_a_group_and_a_name_that_a_request_can_have(method: Method) -> None:
    assert parse.fold_path(f"/api/{method.path}") == method.path.lower()
    group, name = method.path.split("/")
    assert group.islower()
    assert name[0].isupper()


def test_no_two_methods_have_one_path() -> None:
    assert len({method.path.lower() for method in METHODS}) == len(METHODS)


# Permissions that are not named like their method (protocol: auth, permission names); KeyLock needs none.
OTHER_PERMISSIONS = {
    "message/CreateMessage": "EditMessages",
    "message/RemoveMessage": "EditMessages",
    "ai/RegisterEvents": "RegisterEvent",
    "subscription/RecordUsage": "Subscription",
    "auth/KeyLock": "",
}


@each_method
def test_a_permission_is_named_like_its_method(method: Method) -> None:
    _, _, name = method.path.partition("/")
    own = name.removesuffix("ToKey").removesuffix("ToMachineCode") if method.path.startswith("data/") else name
    assert method.permission == OTHER_PERMISSIONS.get(method.path, own)


def test_permissions_are_those_of_the_table_and_the_command_line_knows_no_others() -> None:
    assert tuple(sorted({method.permission for method in METHODS} - {""})) == PERMISSIONS
    assert set(account.client_permissions()) <= set(PERMISSIONS)
    assert {"Activate", "GetKey", "Deactivate", "CreateTrialKey"} <= set(account.client_permissions())
    refused = CliRunner().invoke(
        cli.app, ["token", "add", "x", "--allow", "Nothing"], env={"COLUMNS": "1000", "TERMINAL_WIDTH": "1000"}
    )
    assert refused.exit_code == 2
    assert ", ".join(PERMISSIONS) in " ".join(refused.stderr.replace("│", " ").split())


@each_method
def test_the_bound_of_a_body_is_that_of_its_group(method: Method) -> None:
    assert method.body == BODIES.get(method.path, 64) * KIB
    assert method.multipart is (method.path not in BY_CLIENTS)


@each_method
def test_what_a_method_names_is_what_its_request_has(method: Method) -> None:
    """A lock is checked against these two, so a method that names a license must demand them."""
    defaults = {each.name: each.default for each in fields(method.ask)}
    match method.names:
        case Names.LICENSE | Names.OBJECT_OF_LICENSE | Names.DERIVING:
            assert issubclass(method.ask, requests.LicenseAsk)
            assert defaults["product_id"] is defaults["key"] is MISSING
        case Names.PRODUCT:
            assert defaults["product_id"] is MISSING
            assert "key" not in defaults
        case Names.LOG | Names.ANY:
            assert (defaults.get("product_id", 0), defaults.get("key", "")) == (0, "")
        case Names.OBJECT | Names.CUSTOMER_LICENSES | Names.ACCOUNT:
            assert not defaults.keys() & {"product_id", "key"}


@each_method
def test_a_request_can_be_compiled_and_has_no_parameter_that_ends_before_it(method: Method) -> None:
    parse.compile(method.ask)
    parameters = {each.name.replace("_", "") for each in fields(method.ask) if each.metadata.get("parameter", True)}
    assert not parameters & {"token", "v", "caller"}
    assert get_type_hints(method.ask)["caller"] is Caller


def test_every_request_class_and_every_handler_is_in_the_table() -> None:
    bases = {requests.Ask, requests.AtReferencer, requests.AtMachine, requests.MayNameLicense, requests.LogPage}
    asks = {each for _, each in inspect.getmembers(requests, inspect.isclass) if issubclass(each, requests.Ask)}
    assert asks - bases == {method.ask for method in METHODS}
    own = {
        function
        for module in HANDLERS
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
        and list(inspect.signature(function).parameters) == ["svc", "ask", "now"]
        and get_type_hints(function)["return"] in get_args(replies.Reply)
    }
    assert own == {method.handler for method in METHODS}


def test_handlers_stand_in_the_module_of_their_group() -> None:
    other = {"ai": "analytics"}
    groups = {(group, other.get(group, group)) for group in {method.path.partition("/")[0] for method in METHODS}}
    assert {(method.path.partition("/")[0], method.handler.__module__.rpartition(".")[2]) for method in METHODS} == groups


EXAMPLES: dict[type, replies.Reply] = {
    replies.Done: replies.Done(),
    replies.Licensed: replies.Licensed("bGljZW5zZQ==", "c2VhbA=="),
    replies.Key: replies.Key("ABCDE-ABCDE-ABCDE-ABCDE"),
    replies.Keys: replies.Keys("ABCDE-ABCDE-ABCDE-ABCDE"),
    replies.CustomerDone: replies.CustomerDone(479),
    replies.Customers: replies.Customers(()),
    replies.CustomerLicenses: replies.CustomerLicenses(()),
    replies.Logs: replies.Logs(()),
    replies.Events: replies.Events(()),
    replies.Messages: replies.Messages(()),
    replies.MessageId: replies.MessageId(14),
    replies.DerivedToken: replies.DerivedToken(1005, "dG9rZW4="),
    replies.Id: replies.Id(1),
    replies.DataObjects: replies.DataObjects(()),
}


@pytest.mark.parametrize("kind", get_args(replies.Reply))
def test_every_reply_is_encoded_with_result_and_message_at_its_end(kind: type) -> None:
    assert encode.reply(EXAMPLES[kind]).endswith(b'"result":0,"message":""}')


def test_every_reply_is_given_by_some_method() -> None:
    given = {get_type_hints(method.handler)["return"] for method in METHODS}
    assert given == set(get_args(replies.Reply))


@pytest.mark.parametrize("code", Code)
def test_every_refusal_is_encoded_as_its_message(code: Code) -> None:
    assert encode.refusal(code) == b'{"result":1,"message":"%b"}' % code.encode()


def test_what_serves_methods_knows_of_no_single_one() -> None:
    """Adding a method touches its request, its handler and its row; the rest finds it in the table."""
    root = Path(inspect.getfile(account)).parent
    serving = [
        root / f"{name}.py" for name in ("dispatch", "http", "services", "app", "worker", "supervisor", "ops", "reference")
    ]
    quoted = {f'"{text}"' for method in METHODS for text in (method.path, method.permission) if text}
    for path in (*serving, *(root / "wire").glob("*.py")):
        assert not [each for each in quoted if each in path.read_text()], path.name
