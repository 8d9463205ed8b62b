"""All checks, in the order in which they are shown."""

from server.doctor import engines, place, record
from server.doctor.findings import Finding
from server.doctor.readings import Readings

CHECKS = (*engines.CHECKS, *record.CHECKS, *place.CHECKS)


def findings(readings: Readings) -> list[Finding]:
    """Return what all checks say."""
    return [finding for check in CHECKS for finding in check(readings)]
