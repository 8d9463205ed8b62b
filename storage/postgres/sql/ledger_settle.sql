select stale_licenses, stale_facts, extract(epoch from clock_timestamp())::double precision as clock
from ledger_settle($1, $2)
