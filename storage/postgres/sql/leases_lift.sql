-- $1 licenses, $2 their epochs, $3 new stamps, $4 whether to an odd epoch
select id, lease_epoch, lease_epoch_at, lease_ready, stamp, lifted_from, lifted_to
from leases_lift($1, $2, $3, $4)
