"""`keyturn token`: what a token may do is in the database, its secret is not."""

import base64
import hashlib
import json

import pytest
from shell import Shell

from server.account import client_permissions
from server.methods import PERMISSIONS


def parts(token: str) -> tuple[int, str]:
    """The id and the secret, read strictly: ["<id>","<secret>"] in plain base64."""
    number, secret = json.loads(base64.b64decode(token, validate=True))
    return int(number), secret


def test_a_token_is_shown_once_and_kept_as_a_hash(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor")
    done = shell.run("token", "add", "app", "--allow", "getkey", "--allow", "Activate", "--product-lock", product,
                     "--feature-lock", "5", "--expires", "2999-01-02")  # fmt: skip
    token = done.stdout.strip()
    token_id, secret = parts(token)
    assert len(base64.b64decode(secret, validate=True)) == 30
    assert "+" not in token
    assert "/" not in token
    assert "once only" in done.stderr
    assert token not in done.stderr
    (row,) = shell.rows(
        "select id, name, secret_hash, permissions, product_lock, key_lock, feature_lock, expires, revoked from tokens"
    )
    assert row == {
        "id": token_id, "name": "app", "secret_hash": hashlib.sha256(secret.encode()).digest(),
        "permissions": ["Activate", "GetKey"], "product_lock": 3001, "key_lock": 0, "feature_lock": 5,
        "expires": 32_472_230_400, "revoked": None,
    }  # fmt: skip
    told = json.dumps(shell.edits("Token"))
    assert "GetKey" in told
    assert secret not in told
    assert row["secret_hash"].hex() not in told
    assert "secret" not in shell.ok("token", "list", "--json")


@pytest.mark.parametrize(
    ("option", "expected"), [("--allow-all-client", client_permissions()), ("--allow-all", PERMISSIONS)]
)
def test_many_permissions_have_one_option(shell: Shell, option: str, expected: tuple[str, ...]) -> None:
    shell.ok("token", "add", "app", option)
    assert shell.rows("select permissions from tokens") == [{"permissions": list(expected)}]


def test_client_software_may_not_make_keys() -> None:
    assert {"Activate", "GetKey", "Deactivate", "CreateTrialKey"} <= set(client_permissions()) <= set(PERMISSIONS)
    assert "CreateKey" not in client_permissions()


def test_a_token_may_be_locked_to_a_key_of_its_product(shell: Shell) -> None:
    product = shell.ok("product", "add", "Editor")
    shell.ok("key", "add", product)
    shell.ok("token", "add", "one", "--allow", "Activate", "--key-lock", 1001, "--product-lock", product)
    shell.ok("token", "add", "any", "--allow", "Activate", "--key-lock", -1)
    assert [row["key_lock"] for row in shell.rows("select key_lock from tokens order by id")] == [1001, -1]
    other = shell.ok("product", "add", "Other")
    assert "in product 3002" in shell.refused(
        "token", "add", "x", "--allow", "Activate", "--key-lock", 1001, "--product-lock", other
    )


def test_a_lock_to_what_is_not_there_is_refused(shell: Shell) -> None:
    assert "no product 3009" in shell.refused("token", "add", "x", "--allow", "Activate", "--product-lock", 3009)
    assert "global id 5" in shell.refused("token", "add", "x", "--allow", "Activate", "--key-lock", 5)
    assert shell.rows("select id from tokens") == []
    assert shell.edits("Token") == []


def test_the_list_leaves_out_what_is_no_good_unless_asked(shell: Shell) -> None:
    shell.ok("token", "add", "good", "--allow", "GetKey")
    shell.ok("token", "add", "gone", "--allow", "GetKey", "--feature-lock", 3)
    shell.ok("token", "add", "late", "--allow", "GetKey")
    shell.rows("update tokens set expires = 5 where name = 'late'")
    shell.ok("token", "revoke", 2)
    assert [each["name"] for each in shell.json("token", "list")] == ["good"]
    known = {each["name"]: each["state"] for each in shell.json("token", "list", "--all")}
    assert known == {"good": "good", "gone": "revoked", "late": "expired"}
    listed = shell.ok("token", "list", "--all")
    assert "feature 3" in listed
    assert "revoked" in listed


def test_a_child_of_a_revoked_token_is_listed_as_revoked(shell: Shell) -> None:
    shell.ok("token", "add", "parent", "--allow", "GetKey")
    shell.ok("token", "add", "child", "--allow", "GetKey")
    shell.rows("update tokens set parent_id = 1 where id = 2")
    shell.ok("token", "revoke", 1)
    assert shell.json("token", "list") == []
    assert shell.json("account", "show")["tokens"] == 0


def test_revoking_sets_the_time_and_a_new_stamp_and_is_logged(shell: Shell) -> None:
    shell.ok("token", "add", "app", "--allow", "GetKey")
    before = shell.rows("select stamp from tokens")
    shell.ok("token", "revoke", 1)
    (row,) = shell.rows("select stamp, revoked from tokens")
    assert row["stamp"] != before[0]["stamp"]
    assert row["revoked"] > 0
    assert [action for action, _ in shell.edits("Token")] == ["Create", "Revoke"]


def test_what_cannot_be_revoked_is_told(shell: Shell) -> None:
    shell.ok("token", "add", "app", "--allow", "GetKey")
    shell.ok("token", "revoke", 1)
    assert "Token 1 was revoked already" in shell.refused("token", "revoke", 1)
    assert "keyturn token list" in shell.refused("token", "revoke", 99)
    assert len(shell.edits("Token")) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--allow", "Fly"), "Known: Activate,"),
        ((), "Say what it may do"),
        (("--allow", "GetKey", "--expires", "2001-01-01"), "is over already"),
        (("--allow", "GetKey", "--expires", "soon"), "--expires"),
        (("--allow", "GetKey", "--key-lock", "-2"), "--key-lock"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(nowhere: Shell, arguments: tuple[object, ...], words: str) -> None:
    assert words in nowhere.misused("token", "add", "x", *arguments)


def test_a_feature_lock_with_two_meanings_is_warned_of(shell: Shell) -> None:
    both = ("--allow", "GetKey", "--allow", "CreateTrialKey")
    assert "use two tokens" in shell.run("token", "add", "x", *both, "--feature-lock", 30).stderr
    assert "use two tokens" not in shell.run("token", "add", "x", *both).stderr
