-- What a database that comes from a backup needs before it may serve: the first life went on after the backup was taken.

-- name: users
-- The sessions of Keyturn's servers in this database.
select count(*) from pg_stat_activity a where a.datname = current_database() and a.application_name = 'keyturn'

-- name: last_edit
-- When something was last changed by hand. Making the account is the first such change.
select e.time from object_log e order by e.id desc limit 1

-- name: new_installation
-- Seats and limits in Valkey are named by it, so those of the first life are never met again. Its home is here now.
update installation set id = gen_random_uuid(), home = current_home() returning left(replace(id::text, '-', ''), 12) as id

-- name: forget_lanes
-- A batch that a process of the first life sends finds no lane, and is refused.
delete from lanes

-- name: counters_ahead
-- The numbers of licenses inside their products. $1 how far, $2 the highest that there may be
update product_counters set last = last + least($1::bigint, ($2::bigint - last) / 2)

-- name: floating
-- The next licenses whose seats anybody ever decided on. $1 id to begin after, $2 how many
select l.id, l.lease_epoch from licenses l where l.id > $1 and l.lease_epoch <> 0 order by l.id limit $2
