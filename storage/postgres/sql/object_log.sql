-- Writing the object log from an ordinary transaction.

-- name: writer_begins
-- First in every transaction that writes a log.
select log_writer_begins()

-- name: add
-- In the order of records.Edit; token 0 is the command line.
insert into object_log (account_id, time, object_type, object_id, action, token_id, changes)
values ($1, $2, $3, $4, $5, $6, $7::text::jsonb)
