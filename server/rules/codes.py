"""Every message that a client may be told (protocol: error strings), and the one exception that tells it."""

from enum import StrEnum


class Code(StrEnum):
    """The wire's error messages, spelled exactly as client libraries compare them."""

    AUTHENTICATE = "Unable to authenticate."
    DENIED = "Access denied."
    INPUT = "The input parameters were incorrect."
    PRODUCT = "Could not find the product."
    KEY = "Could not find the key."
    BLOCKED = "The key is blocked and cannot be accessed."
    LIMIT = "Cannot activate the new device as the limit has been reached."
    NOT_ACTIVATED = "Either the machine code was never activated or key activation feature was never set up."
    TRIAL_USED = "This machine code has already activated the trial."
    CODE_EMPTY = "The machine code cannot be null."
    CODE_LONG = "The machine code cannot exceed 128 chars in length."
    NOTES_LONG = "The notes field cannot be more than 500 characters."
    CUSTOMER = "Could not find the customer."
    CUSTOMER_UNKNOWN = "Customer could not be found."
    CUSTOMER_GONE = "Customer does not exist."
    CUSTOMER_NOT_ASSIGNED = "Customer not found, so current key no longer references any customer."
    CUSTOMER_NAME_LONG = "The name of the customer is limited to 100 characters."
    CUSTOMER_EMAIL_LONG = "The email of the customer is limited to 100 characters."
    CUSTOMER_COMPANY_LONG = "The company name of the customer is limited to 100 characters."
    OBJECT = "Not enough permission and/or key not found."
    OBJECT_EXISTS = "A data object with the same name already exists."
    OBJECTS_FULL = "There are too many data objects already."
    BOUND = "The bound has been reached."
    OVERFLOW = "The operation would result in an overflow."
    TIMESTAMP = "The timestamp in the Time parameter does not have the correct format."
    SUBSCRIPTION_ITEM = "The subscription item id could not be found."
    RESELLER = "Could not issue a new license. Error message: Could not find the reseller."


class Refusal(Exception):
    """The one way to say no to a client. `confirmed`: the token was checked in PostgreSQL by whatever refused."""

    def __init__(self, code: Code, *, confirmed: bool = False) -> None:
        super().__init__(code.value)
        self.code = code
        self.confirmed = confirmed
