-- Says for as long as this connection stands that a program runs which knows the schema up to $1.
select pg_advisory_lock_shared(5437142, $1)
