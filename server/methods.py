"""THE TABLE: one row per Web API method. A new method is a request class, a handler, and a row here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from server.handlers import analytics, auth, customer, data, key, message, subscription
from server.rules.grants import Names
from server.services import Services
from server.wire import requests
from server.wire.replies import Reply

KIB = 1024
Handler = Callable[[Services, Any, int], Awaitable[Reply]]  # the request class of the row takes the place of Any


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its path below /api/, its request, the permission, what its parameters name, its body's bound in bytes.

    The permission '' is one that every token has.
    """

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
    Method("key/AddFeature",       requests.ChangeFeature,    "AddFeature",       Names.LICENSE, 64 * KIB,  key.add_feature,        multipart=True),
    Method("key/RemoveFeature",    requests.ChangeFeature,    "RemoveFeature",    Names.LICENSE, 64 * KIB,  key.remove_feature,     multipart=True),
    Method("key/ChangeNotes",      requests.ChangeNotes,      "ChangeNotes",      Names.LICENSE, 64 * KIB,  key.change_notes,       multipart=True),
    Method("key/ChangeCustomer",   requests.ChangeCustomer,   "ChangeCustomer",   Names.LICENSE, 64 * KIB,  key.change_customer,    multipart=True),
    Method("key/TrialActivation",  requests.TrialActivation,  "TrialActivation",  Names.LICENSE, 64 * KIB,  key.trial_activation,   multipart=True),
    Method("customer/AddCustomer",                 requests.AddCustomer,                 "AddCustomer",                 Names.ACCOUNT,           64 * KIB, customer.add_customer,          multipart=True),
    Method("customer/EditCustomer",                requests.EditCustomer,                "EditCustomer",                Names.ACCOUNT,           64 * KIB, customer.edit_customer,         multipart=True),
    Method("customer/RemoveCustomer",              requests.RemoveCustomer,              "RemoveCustomer",              Names.ACCOUNT,           64 * KIB, customer.remove_customer,       multipart=True),
    Method("customer/GetCustomers",                requests.GetCustomers,                "GetCustomers",                Names.ACCOUNT,           64 * KIB, customer.get_customers,         multipart=True),
    Method("customer/GetCustomerLicenses",         requests.GetCustomerLicenses,         "GetCustomerLicenses",         Names.CUSTOMER_LICENSES, 64 * KIB, customer.get_customer_licenses, multipart=True),
    Method("customer/GetCustomerLicensesBySecret", requests.GetCustomerLicensesBySecret, "GetCustomerLicensesBySecret", Names.CUSTOMER_LICENSES, 64 * KIB, customer.get_customer_licenses_by_secret),
    Method("data/AddDataObject",                  requests.AddDataObject,                "AddDataObject",     Names.OBJECT,            128 * KIB, data.add_data_object),
    Method("data/AddDataObjectToKey",             requests.AddDataObjectToKey,           "AddDataObject",     Names.OBJECT_OF_LICENSE, 128 * KIB, data.add_data_object),
    Method("data/AddDataObjectToMachineCode",     requests.AddDataObjectToMachineCode,   "AddDataObject",     Names.OBJECT_OF_LICENSE, 128 * KIB, data.add_data_object),
    Method("data/ListDataObjects",                requests.ListDataObjects,              "ListDataObjects",   Names.OBJECT,            64 * KIB,  data.list_data_objects),
    Method("data/ListDataObjectsToKey",           requests.ListDataObjectsToKey,         "ListDataObjects",   Names.OBJECT_OF_LICENSE, 64 * KIB,  data.list_data_objects),
    Method("data/ListDataObjectsToMachineCode",   requests.ListDataObjectsToMachineCode, "ListDataObjects",   Names.OBJECT_OF_LICENSE, 64 * KIB,  data.list_data_objects),
    Method("data/SetIntValue",                    requests.SetIntValue,                  "SetIntValue",       Names.OBJECT,            16 * KIB,  data.set_int_value),
    Method("data/SetIntValueToKey",               requests.SetIntValueToKey,             "SetIntValue",       Names.OBJECT_OF_LICENSE, 16 * KIB,  data.set_int_value),
    Method("data/SetIntValueToMachineCode",       requests.SetIntValueToMachineCode,     "SetIntValue",       Names.OBJECT_OF_LICENSE, 16 * KIB,  data.set_int_value),
    Method("data/SetStringValue",                 requests.SetStringValue,               "SetStringValue",    Names.OBJECT,            128 * KIB, data.set_string_value),
    Method("data/SetStringValueToKey",            requests.SetStringValueToKey,          "SetStringValue",    Names.OBJECT_OF_LICENSE, 128 * KIB, data.set_string_value),
    Method("data/SetStringValueToMachineCode",    requests.SetStringValueToMachineCode,  "SetStringValue",    Names.OBJECT_OF_LICENSE, 128 * KIB, data.set_string_value),
    Method("data/IncrementIntValue",              requests.StepIntValue,                 "IncrementIntValue", Names.OBJECT,            16 * KIB,  data.increment_int_value),
    Method("data/IncrementIntValueToKey",         requests.StepIntValueToKey,            "IncrementIntValue", Names.OBJECT_OF_LICENSE, 16 * KIB,  data.increment_int_value),
    Method("data/IncrementIntValueToMachineCode", requests.StepIntValueToMachineCode,    "IncrementIntValue", Names.OBJECT_OF_LICENSE, 16 * KIB,  data.increment_int_value),
    Method("data/DecrementIntValue",              requests.StepIntValue,                 "DecrementIntValue", Names.OBJECT,            16 * KIB,  data.decrement_int_value),
    Method("data/DecrementIntValueToKey",         requests.StepIntValueToKey,            "DecrementIntValue", Names.OBJECT_OF_LICENSE, 16 * KIB,  data.decrement_int_value),
    Method("data/DecrementIntValueToMachineCode", requests.StepIntValueToMachineCode,    "DecrementIntValue", Names.OBJECT_OF_LICENSE, 16 * KIB,  data.decrement_int_value),
    Method("data/RemoveDataObject",               requests.ById,                         "RemoveDataObject",  Names.OBJECT,            64 * KIB,  data.remove_data_object),
    Method("data/RemoveDataObjectToKey",          requests.OfKey,                        "RemoveDataObject",  Names.OBJECT_OF_LICENSE, 64 * KIB,  data.remove_data_object),
    Method("data/RemoveDataObjectToMachineCode",  requests.OfMachine,                    "RemoveDataObject",  Names.OBJECT_OF_LICENSE, 64 * KIB,  data.remove_data_object),
    Method("ai/GetWebAPILog",      requests.GetWebAPILog,     "GetWebAPILog",     Names.LOG,     64 * KIB,  analytics.get_web_api_log, multipart=True),
    Method("ai/RegisterEvent",     requests.RegisterEvent,    "RegisterEvent",    Names.ANY,     128 * KIB, analytics.register_event),
    Method("ai/RegisterEvents",    requests.RegisterEvents,   "RegisterEvent",    Names.ANY,     1024 * KIB, analytics.register_events),
    Method("ai/GetEvents",         requests.GetEvents,        "GetEvents",        Names.LOG,     64 * KIB,  analytics.get_events,   multipart=True),
    Method("message/GetMessages",   requests.GetMessages,     "GetMessages",      Names.ANY,     64 * KIB,  message.get_messages),
    Method("message/CreateMessage", requests.CreateMessage,   "EditMessages",     Names.ACCOUNT, 128 * KIB, message.create_message, multipart=True),
    Method("message/RemoveMessage", requests.RemoveMessage,   "EditMessages",     Names.ACCOUNT, 64 * KIB,  message.remove_message, multipart=True),
    Method("auth/KeyLock",             requests.LicenseAsk,   "",                 Names.DERIVING, 64 * KIB, auth.key_lock),
    Method("subscription/RecordUsage", requests.RecordUsage,  "Subscription",     Names.LICENSE, 64 * KIB,  subscription.record_usage),
)
# fmt: on

# What a token may be given; more names join with their methods.
PERMISSIONS = tuple(sorted({method.permission for method in METHODS} - {""}))
