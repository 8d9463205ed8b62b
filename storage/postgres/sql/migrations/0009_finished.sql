-- When the second part of a migration was applied, of those that have one (`keyturn migrate --finish`). Programs from before
-- do not know of it, and need not.
alter table schema_history add column finished timestamptz;
