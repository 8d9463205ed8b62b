-- The clock is read after the function has done its work.
select stale_licenses, stale_facts, extract(epoch from clock_timestamp())::double precision as clock
from ledger_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
