-- $1 licenses
select l.id, l.lease_epoch, l.lease_epoch_at, l.lease_ready, l.stamp, l.lifted_from, l.lifted_to
from licenses l
where l.id = any ($1)
