"""THE TABLE is sound: every row is whole, and a new method is one request class, one handler and one row."""

import inspect
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from server import account, cli
from server.handlers import analytics, key
from server.methods import METHODS, PERMISSIONS, Method
from server.rules.codes import Code
from server.rules.grants import Caller, Names
from server.services import Services
from server.wire import encode, parse, replies, requests

KIB = 1024
# Protocol: transport and house, limits of bodies. The group that clients call at every start, and the rest.
HOT = {"key/Activate", "key/GetKey", "key/Deactivate", "key/CreateTrialKey"}
HANDLERS = (key, analytics)


def name_of(method: Method) -> str:
    return method.path


each_method = pytest.mark.parametrize("method", METHODS, ids=name_of)


@each_method
def test_a_handler_takes_services_a_request_and_now_and_says_what_it_does(method: Method) -> None:
    assert inspect.iscoroutinefunction(method.handler)
    hints = get_type_hints(method.handler)
    assert list(inspect.signature(method.handler).parameters) == ["svc", "ask", "now"]
    assert (hints["svc"], hints["ask"], hints["now"]) == (Services, method.ask, int)
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


@each_method
def test_a_permission_is_named_like_its_method(method: Method) -> None:
    assert method.permission == method.path.partition("/")[2]


def test_permissions_are_those_of_the_table_and_the_command_line_knows_no_others() -> None:
    assert tuple(sorted({method.permission for method in METHODS})) == PERMISSIONS
    assert set(account.client_permissions()) <= set(PERMISSIONS)
    assert {"Activate", "GetKey", "Deactivate", "CreateTrialKey"} <= set(account.client_permissions())
    refused = CliRunner().invoke(
        cli.app, ["token", "add", "x", "--allow", "Nothing"], env={"COLUMNS": "1000", "TERMINAL_WIDTH": "1000"}
    )
    assert refused.exit_code == 2
    assert ", ".join(PERMISSIONS) in " ".join(refused.stderr.replace("│", " ").split())


@each_method
def test_the_bound_of_a_body_is_that_of_its_group(method: Method) -> None:
    assert method.body == (16 if method.path in HOT else 64) * KIB
    assert method.multipart is (method.path not in HOT)


@each_method
def test_what_a_method_names_is_what_its_request_has(method: Method) -> None:
    """A lock is checked against these two, so a method that names a license must demand them."""
    defaults = {each.name: each.default for each in fields(method.ask)}
    match method.names:
        case Names.LICENSE:
            assert issubclass(method.ask, requests.LicenseAsk)
            assert defaults["product_id"] is defaults["key"] is MISSING
        case Names.PRODUCT:
            assert defaults["product_id"] is MISSING
            assert "key" not in defaults
        case Names.LOG:
            assert (defaults["product_id"], defaults["key"]) == (0, "")


@each_method
def test_a_request_can_be_compiled_and_has_no_parameter_that_ends_before_it(method: Method) -> None:
    parse.compile(method.ask)
    parameters = {each.name.replace("_", "") for each in fields(method.ask) if each.metadata.get("parameter", True)}
    assert not parameters & {"token", "v", "caller"}
    assert get_type_hints(method.ask)["caller"] is Caller


def test_every_request_class_and_every_handler_is_in_the_table() -> None:
    bases = {requests.Ask}
    asks = {each for _, each in inspect.getmembers(requests, inspect.isclass) if issubclass(each, requests.Ask)}
    assert asks - bases == {method.ask for method in METHODS}
    own = {
        function
        for module in HANDLERS
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and list(inspect.signature(function).parameters) == ["svc", "ask", "now"]
    }
    assert own == {method.handler for method in METHODS}


def test_handlers_stand_in_the_module_of_their_group() -> None:
    groups = {("key", "key"), ("ai", "analytics")}
    assert {(method.path.partition("/")[0], method.handler.__module__.rpartition(".")[2]) for method in METHODS} == groups


EXAMPLES: dict[type, replies.Reply] = {
    replies.Done: replies.Done(),
    replies.Licensed: replies.Licensed("bGljZW5zZQ==", "c2VhbA=="),
    replies.Key: replies.Key("ABCDE-ABCDE-ABCDE-ABCDE"),
    replies.Keys: replies.Keys("ABCDE-ABCDE-ABCDE-ABCDE"),
    replies.Logs: replies.Logs(()),
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
    quoted = {f'"{text}"' for method in METHODS for text in (method.path, method.permission)}
    for path in (*serving, *(root / "wire").glob("*.py")):
        assert not [each for each in quoted if each in path.read_text()], path.name
