"""Requests of the SDKs that are not run here, replayed byte for byte, and the answers checked against the protocol."""

import datetime
from typing import Any
from uuid import uuid4

import pytest

from .given import (
    AUTHENTICATE,
    BLOCKED,
    DAY,
    DENIED,
    INPUT,
    KEY,
    LIMIT,
    MACHINE_FIELDS,
    NO_PRODUCT,
    NO_TOKEN,
    NOT_ACTIVATED,
    NOTES,
    SHOWN_OF_A_MACHINE,
    NewToken,
    Vendor,
    camel,
    is_now,
    iso,
    linq_document,
    metadata_document,
    string_document,
)
from .recorded import (
    ACTIVATIONS,
    CPP,
    CREATIONS,
    DEACTIVATIONS,
    EDITS,
    FLOATING,
    FLOATING_READS,
    FLOATING_WITH_OVERDRAFT,
    INTERVAL,
    LOG_READS,
    READS,
    RELEASES,
    TRIAL_ACTIVATION,
    TRIALS,
    Answer,
    C,
    Creation,
    Edit,
    LogRead,
    Recorded,
    overdrawn,
)
from .replaying import done, each, is_json, manage, read, refused, send


def document_of(request: Recorded, answer: Answer, vendor: Vendor) -> dict[str, Any]:
    """Check all that an answer with a license must be; return the license, spelled as in StringSign, times as there."""
    assert answer.status == 200
    assert is_json(answer)
    assert answer.body.endswith(b',"result":0,"message":""}')
    assert ("metadata" in answer.json) == request.metadata
    if request.metadata:
        metadata_document(answer.json, vendor.public_key)
    if not request.linq:
        return string_document(answer.json, vendor.public_key, request.model_version)
    linq = linq_document(answer.json, vendor.public_key, request.model_version)
    return {name[0].upper() + name[1:] if name != "id" else "ID": value for name, value in linq.items()}


# ---- Activate


@each(ACTIVATIONS)
def test_a_recorded_activation_is_answered_as_the_protocol_says(request_: Recorded, vendor: Vendor) -> None:
    notes, vips = f'{NOTES}, "the first"', "m-vip1\nm-vip2"
    key = vendor.new_key(2, F5=True, Notes=notes, AllowedMachines=vips)
    license = document_of(request_, send(request_, vendor, key=key), vendor)

    assert (license["ProductId"], license["Key"], license["Period"]) == (vendor.product, key, 30)
    assert [license[f"F{number}"] for number in range(1, 9)] == [False] * 4 + [True] + [False] * 3
    assert (license["Notes"], license["AllowedMachines"], license["Customer"]) == (notes, vips, None)
    assert (license["Block"], license["TrialActivation"], license["MaxNoOfMachines"]) == (False, False, 2)
    assert license["DataObjects"] == []
    assert license.get("Reseller") is None
    assert type(license["ID"]) is type(license["GlobalId"]) is int

    (machine,) = license["ActivatedMachines"]
    shown = {"Mid": "m-alpha", "IP": "127.0.0.1", "FriendlyName": "", "FloatingExpires": None if request_.linq else 0}
    names = MACHINE_FIELDS[: SHOWN_OF_A_MACHINE[request_.model_version]]
    spell = camel if request_.linq else str
    assert {name: machine[spell(name)] for name in names if name != "Time"} == {
        name: shown[name] for name in names if name != "Time"
    }
    if request_.linq:
        assert license["Created"] <= machine["time"] <= license["SignDate"] < license["Expires"]  # ISO sorts as text
        assert all(len(license[name]) == len(iso(0)) for name in ("Created", "Expires", "SignDate"))
    else:
        assert license["Expires"] - license["Created"] == 30 * DAY
        assert is_now(license["Created"])
        assert is_now(machine["Time"])
        assert is_now(license["SignDate"])


@each(ACTIVATIONS)
def test_a_recorded_activation_shows_the_customer_and_the_data_objects(request_: Recorded, vendor: Vendor) -> None:
    customer = vendor.live.call("customer/AddCustomer", Name="Åsa & Co")["customerId"]
    key = vendor.new_key(1, CustomerId=customer)
    objects = (("usagecount", "", 2_147_483_647), ("", 'say "a, b"', 0))
    ids = {
        name: vendor.live.call("data/AddDataObjectToKey", Key=key, Name=name, StringValue=text, IntValue=number)["id"]
        for name, text, number in objects
    }
    license = document_of(request_, send(request_, vendor, key=key), vendor)  # LinqSign signs all of it but the id
    spell = camel if request_.linq else str
    shown = license["Customer"]
    assert list(shown) == [spell(name) for name in ("Id", "Name", "Email", "CompanyName", "Created")]
    *told, created = shown.values()
    assert told == [customer, "Åsa & Co", "", ""]  # C++ and Rust cannot read null
    assert len(created) == len(iso(0)) if request_.linq else is_now(created)
    names = [spell(name) for name in ("Id", "Name", "StringValue", "IntValue")]
    assert [list(item.items()) for item in license["DataObjects"]] == sorted(
        list(zip(names, (ids[item[0]], *item), strict=True)) for item in objects
    )


@each(ACTIVATIONS)
def test_a_repeated_activation_differs_in_its_sign_date_only(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    first, second = (document_of(request_, send(request_, vendor, key=key), vendor) for _ in range(2))
    assert second.pop("SignDate") >= first.pop("SignDate")
    for license in (first, second):
        license.pop("Signature", None)
    assert first == second


@each(ACTIVATIONS)
def test_a_recorded_activation_is_refused_word_for_word(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    document_of(request_, send(request_, vendor, key=key), vendor)
    assert refused(send(request_, vendor, key=key, machine="m-beta"), LIMIT)
    assert vendor.live.call("key/BlockKey", Key=key)["result"] == 0
    assert refused(send(request_, vendor, key=key), BLOCKED)
    assert refused(send(request_, vendor), KEY)
    assert refused(send(request_, vendor, key=key, product=NO_PRODUCT), DENIED)
    assert refused(send(request_, vendor, key=key, product="none"), INPUT)
    assert refused(send(request_, vendor, key=key, token=NO_TOKEN), AUTHENTICATE)


@each(ACTIVATIONS)
def test_a_token_that_ends_in_equals_signs_is_read_from_every_sdk(
    request_: Recorded, vendor: Vendor, padded_token: str
) -> None:
    # C pastes it into the form as it is; others escape it.
    document_of(request_, send(request_, vendor, key=vendor.new_key(1), token=padded_token), vendor)
    published = padded_token + "="  # some were published with one too many
    document_of(request_, send(request_, vendor, key=vendor.new_key(1), token=published), vendor)


@pytest.fixture(scope="session")
async def padded_token(vendor: Vendor, new_token: NewToken) -> str:
    """A token with padding: those have it whose ids are of two, three, five or six digits."""
    database = await vendor.live.database()
    try:
        await database.execute("select setval(pg_get_serial_sequence('tokens', 'id'), greatest(max(id), 9999)) from tokens")
    finally:
        await database.close()
    token = await new_token()
    assert token.endswith("=")
    return token


def test_an_unescaped_machine_code_of_c_may_hold_an_equals_sign(vendor: Vendor) -> None:
    request = next(each for each in ACTIVATIONS if each.sdk is C)
    license = document_of(request, send(request, vendor, key=vendor.new_key(1), machine="a=b==/#é"), vendor)
    assert [machine["Mid"] for machine in license["ActivatedMachines"]] == ["a=b==/#é"]


# ---- floating seats


def listed(request: Recorded, license: dict[str, Any]) -> list[str]:
    return [machine["mid" if request.linq else "Mid"] for machine in license["ActivatedMachines"]]


def is_here(request: Recorded, mids: list[str], machine: str, *, overdraft: bool = False) -> bool:
    """Whether the SDK finds that the machine has a seat; `overdraft` says whether its software allows one above the limit.

    C++ compares the whole entry, an overdraft one never fits. The others look at what follows the prefix.
    """
    if request.sdk is CPP:
        return f"floating:{machine}" in mids
    return any(mid[9:] == machine or (overdraft and mid[19:] == machine) for mid in mids)


def take(vendor: Vendor, key: str, machine: str, **params: object) -> None:
    """Take a seat for another machine, by another way."""
    answer = vendor.live.call("key/Activate", Key=key, MachineCode=machine, FloatingTimeInterval=INTERVAL, **params)
    assert answer["message"] == ""


@each(FLOATING)
def test_a_recorded_floating_call_is_answered_with_the_seats_of_its_model_version(
    request_: Recorded, vendor: Vendor
) -> None:
    key = vendor.new_key(2)
    vendor.live.call("key/Activate", Key=key, MachineCode="m-locked")
    take(vendor, key, "a-first")
    license = document_of(request_, send(request_, vendor, key=key), vendor)
    everybody = ["m-locked", "floating:a-first", "floating:m-alpha"]
    mids = listed(request_, license)
    assert mids == (everybody if request_.model_version == 3 else everybody[-1:])
    assert is_here(request_, mids, "m-alpha")
    assert not is_here(request_, mids, "m-beta", overdraft=True)

    seat = license["ActivatedMachines"][-1]
    spell = camel if request_.linq else str
    assert seat[spell("IP")] == "127.0.0.0"
    if request_.linq:
        ends = [
            datetime.datetime.fromisoformat(seat["time"]) + datetime.timedelta(seconds=INTERVAL + more) for more in (0, 1)
        ]
        assert seat["floatingExpires"] in [each.isoformat() for each in ends]
        assert license["ActivatedMachines"][0]["floatingExpires"] is None
    elif request_.model_version == 3:
        assert is_now(seat["Time"])
        assert seat["FloatingExpires"] - seat["Time"] in (INTERVAL, INTERVAL + 1)
        assert license["ActivatedMachines"][0]["FloatingExpires"] == 0
    if request_.metadata:
        assert metadata_document(send(request_, vendor, key=key).json, vendor.public_key)["UsedFloatingMachines"] == 2


@each(FLOATING)
def test_a_recorded_heartbeat_keeps_the_seat_that_others_do_not_get(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    first = document_of(request_, send(request_, vendor, key=key), vendor)
    assert refused(send(request_, vendor, key=key, machine="m-beta"), LIMIT)
    second = document_of(request_, send(request_, vendor, key=key), vendor)
    assert listed(request_, second) == listed(request_, first) == ["floating:m-alpha"]
    began = "time" if request_.linq else "Time"
    assert second["ActivatedMachines"][0][began] == first["ActivatedMachines"][0][began]
    assert vendor.live.call("key/BlockKey", Key=key)["result"] == 0
    assert refused(send(request_, vendor, key=key), BLOCKED)


@each(FLOATING_WITH_OVERDRAFT)
def test_a_recorded_call_with_overdraft_gets_a_seat_that_is_marked(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    take(vendor, key, "a-first")
    assert refused(send(request_, vendor, key=key), LIMIT)
    license = document_of(request_, send(overdrawn(request_), vendor, key=key), vendor)
    everybody = ["floating:a-first", "floating:overdraft:m-alpha"]
    mids = listed(request_, license)
    assert mids == (everybody if request_.model_version == 3 else everybody[-1:])
    assert not is_here(request_, mids, "m-alpha")
    assert is_here(request_, mids, "m-alpha", overdraft=True)
    assert refused(send(overdrawn(request_), vendor, key=key, machine="m-beta"), LIMIT)


@each(tuple(request for request in FLOATING if request not in FLOATING_WITH_OVERDRAFT))
def test_an_sdk_without_overdraft_is_refused_and_takes_nobody_elses_overdraft_seat_for_its_own(
    request_: Recorded, vendor: Vendor
) -> None:
    key = vendor.new_key(1)
    take(vendor, key, "m-alpha")
    take(vendor, key, "m-beta", MaxOverdraft=1)
    assert refused(send(request_, vendor, key=key, machine="m-beta"), LIMIT)
    mids = listed(request_, document_of(request_, send(request_, vendor, key=key), vendor))
    assert is_here(request_, mids, "m-alpha")
    assert not is_here(request_, mids, "m-beta")


@each(RELEASES)
def test_a_recorded_release_gives_the_seat_back_and_may_be_repeated(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    take(vendor, key, "m-alpha")
    for machine in ("m-beta", "m-alpha", "m-alpha"):
        assert done(send(request_, vendor, key=key, machine=machine))
    take(vendor, key, "m-beta")
    assert vendor.live.call("key/BlockKey", Key=key)["result"] == 0
    assert refused(send(request_, vendor, key=key), BLOCKED)


@each(DEACTIVATIONS)
def test_a_recorded_deactivation_of_a_node_locked_machine_finds_no_seat(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    take(vendor, key, "m-alpha")
    assert refused(send(request_, vendor, key=key), NOT_ACTIVATED)
    assert [machine["Mid"] for machine in read(vendor, key)["ActivatedMachines"]] == ["floating:m-alpha"]


@each(FLOATING_READS)
def test_a_recorded_reading_with_an_interval_counts_the_seats(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    take(vendor, key, "m-alpha")
    take(vendor, key, "m-beta", MaxOverdraft=1)
    answer = send(request_, vendor, key=key)
    license = document_of(request_, answer, vendor)
    assert listed(request_, license) == ["floating:m-alpha", "floating:overdraft:m-beta"]
    assert metadata_document(answer.json, vendor.public_key)["UsedFloatingMachines"] == 2


# ---- GetKey, Deactivate, CreateTrialKey


@each(READS)
def test_a_recorded_reading_shows_the_license(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(2)
    license = document_of(request_, send(request_, vendor, key=key), vendor)
    assert (license["Key"], license["ActivatedMachines"]) == (key, [])
    vendor.live.call("key/Activate", Key=key, MachineCode="m-alpha")
    vendor.live.call("key/BlockKey", Key=key)
    license = document_of(request_, send(request_, vendor, key=key), vendor)
    assert license["Block"] is True
    assert [machine["mid" if request_.linq else "Mid"] for machine in license["ActivatedMachines"]] == ["m-alpha"]
    assert refused(send(request_, vendor), KEY)


@each(DEACTIVATIONS)
def test_a_recorded_deactivation_gives_the_place_back(request_: Recorded, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    assert refused(send(request_, vendor, key=key), NOT_ACTIVATED)
    vendor.live.call("key/Activate", Key=key, MachineCode="m-alpha")
    assert done(send(request_, vendor, key=key))
    assert refused(send(request_, vendor, key=key), NOT_ACTIVATED)
    vendor.live.call("key/BlockKey", Key=key)
    assert refused(send(request_, vendor, key=key), BLOCKED)


@each(TRIALS)
def test_a_recorded_request_for_a_trial_gives_one_key(request_: Recorded, vendor: Vendor) -> None:
    machine = str(uuid4())
    answer = send(request_, vendor, machine=machine)
    key = answer.json["key"]
    assert (answer.status, answer.body) == (200, b'{"key":"%b","result":0,"message":""}' % key.encode())
    assert send(request_, vendor, machine=machine).json["key"] == key
    assert refused(send(request_, vendor, machine=""), "The machine code cannot be null.")
    assert refused(send(request_, vendor, machine=machine, product=NO_PRODUCT), DENIED)


# ---- managing licenses, and the log


@each(CREATIONS)
def test_a_recorded_creation_gives_the_keys_that_it_asks_for(request_: Creation, vendor: Vendor) -> None:
    answer = manage(request_, vendor)
    assert answer.status == 200
    several, customer = request_.keys > 1, bool(request_.customer)
    assert list(answer.json) == ["key", *["keys"] * several, *["customerId"] * customer, "result", "message"]
    assert (answer.json["result"], answer.json["message"]) == (0, "")
    keys = answer.json.get("keys", [answer.json["key"]])
    assert (len(set(keys)), keys[0]) == (request_.keys, answer.json["key"])
    for key in keys:
        license = read(vendor, key)
        assert {name: license[name] for name in request_.license} == request_.license
        told = license["Customer"] and {name: license["Customer"][name] for name in request_.customer}
        assert told == (request_.customer or None)
    assert refused(manage(request_, vendor, token=vendor.token), DENIED)


@each(EDITS)
def test_a_recorded_edit_changes_what_it_names_and_nothing_else(request_: Edit, vendor: Vendor) -> None:
    customer = vendor.live.call("customer/AddCustomer", Name="Bob")["customerId"]
    key = vendor.new_key(2, F2=True, Notes="before", TrialActivation=True, CustomerId=customer)
    before = read(vendor, key)
    assert done(manage(request_, vendor, key=key))
    after = read(vendor, key)
    moved = ((after["Period"] - before["Period"]) * DAY) if "Period" in request_.after else 0
    expected = {**before, **request_.after, "Expires": before["Expires"] + moved, "SignDate": after["SignDate"]}
    assert after == expected
    assert refused(manage(request_, vendor), KEY)
    assert refused(manage(request_, vendor, key=key, token=vendor.token), DENIED)


def test_a_recorded_countdown_is_switched_on(vendor: Vendor) -> None:
    key = vendor.new_key(2)
    assert done(manage(TRIAL_ACTIVATION, vendor, key=key))
    assert read(vendor, key)["TrialActivation"] is True


@each(LOG_READS)
def test_a_recorded_reading_of_the_log_is_answered_with_its_rows(request_: LogRead, vendor: Vendor) -> None:
    key = vendor.new_key(1)
    for machine in ("m-alpha", "m-beta"):
        vendor.live.call("key/Activate", Key=key, MachineCode=machine)
    answer = manage(request_, vendor, key=key)
    assert answer.status == 200
    assert list(answer.json) == ["logs", "result", "message"]
    assert tuple(row["state"] for row in answer.json["logs"]) == request_.states
    names = [
        "id", "productId", "key", "ip", "time", "state", "machineCode", "friendlyName", "floatingExpires", "doIntValue",
        "doId",
    ]  # fmt: skip
    if "AnomalyClassification=true" in request_.path:
        names += ["isAnomaly", "anomalyProperties"]
    assert all(list(row) == names for row in answer.json["logs"])
