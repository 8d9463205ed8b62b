-- What `keyturn doctor` asks PostgreSQL. It changes nothing, and waits for no lock but those of migrations.

-- name: server
-- Whose server this is, and as whom we are there.
select current_setting('server_version_num')::integer as number, current_setting('server_version') as version,
       pg_is_in_recovery() as standby,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true), '0')::integer as connections,
       current_user::text as role, current_database()::text as database

-- name: settings
-- What the record relies on, as our sessions have it, and where each value is from ('default', 'command line', 'user', …).
select s.name, s.setting as value, s.source
from pg_settings s
where s.name in ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums')

-- name: has
-- Which of our tables are there. $1 their names
select w.name from unnest($1::text[]) as w (name) where to_regclass(w.name) is not null

-- name: migrations
select h.number, h.name from schema_history h order by h.number

-- name: installation
select i.oldest_program, left(replace(i.id::text, '-', ''), 12) as id from installation i

-- name: retained
-- When the part of the daily job was done that was done the longest ago; 0: never.
select min(r.done) as done from retention r

-- name: home
-- Where the database was made or made ready, and where it is.
select i.home, current_home() as here from installation i
