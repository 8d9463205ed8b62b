"""Floating seats: the real handlers, ledger, scripts and table, driven through what breaks them when a rule is missing."""
