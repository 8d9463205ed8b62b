-- A batch that writes nothing: only whether its verdicts hold.
select stale_licenses, stale_facts, extract(epoch from clock_timestamp())::double precision as clock
from ledger_stale($1, $2, $3, $4, $5)
