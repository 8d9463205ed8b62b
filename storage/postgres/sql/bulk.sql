-- Bulk loads. What is loaded is copied (bulk.py); this is what stands around it.

-- name: alone
-- One load at a time, until the connection ends. $1 the lock
select pg_try_advisory_lock($1)

-- name: reserve
-- The first numbers of a product are for the load: whoever makes a key meanwhile gets a later one. $1 product, $2 how many
update product_counters set last = greatest(last, $2) where product_id = $1

-- name: missing
-- The chunks that are not there, each by its first number: a chunk is there whole or not at all.
-- $1 product, $2 how many licenses, $3 how many in a chunk
select c.first
from generate_series(1, $2::bigint, $3::bigint) as c (first)
where not exists (select from licenses l where l.product_id = $1 and l.number = c.first)
order by c.first

-- name: license_ids
-- $1 how many
select nextval(pg_get_serial_sequence('licenses', 'id')) as id from generate_series(1, $1)

-- name: tidy_licenses
-- Not truncated, which would lock out everybody.
vacuum (analyze, truncate false) licenses

-- name: tidy_machines
vacuum (analyze, truncate false) machines
