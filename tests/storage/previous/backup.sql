-- What the program of schema 8 asked otherwise than the one of now.

-- name: about
select (select max(h.number) from schema_history h) as schema, i.id::text as installation,
       current_setting('server_version') as server, floor(extract(epoch from clock_timestamp()))::bigint as taken
from installation i
