select stale_licenses, stale_facts from ledger_settle($1, $2)
