-- All rows of the leases of some licenses; after the first column the order is that of records.Lease. $1 licenses
select s.license_id, s.code, s.kind, s.start, s.time, s.expires, s.friendly_name, s.ip, s.epoch, s.seq, s.released
from leases s
where s.license_id = any ($1)
order by s.license_id, s.code
