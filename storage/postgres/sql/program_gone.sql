-- Whether no program runs that knows the schema up to $1 and no further; none begins to before the transaction ends.
select pg_try_advisory_xact_lock(5437142, $1)
