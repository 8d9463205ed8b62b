-- How many floating seats are held, by the table. $1 the time
select count(*) from leases s where s.expires > $1 and not s.released
