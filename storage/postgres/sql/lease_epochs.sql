-- $1 licenses
select l.id, l.lease_epoch, l.lease_epoch_at, l.lease_ready from licenses l where l.id = any ($1)
