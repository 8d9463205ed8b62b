-- $1 licenses, $2 their epochs, $3 new stamps
select leases_ready($1, $2, $3)
