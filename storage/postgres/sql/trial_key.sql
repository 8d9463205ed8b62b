-- The key that was made as the trial of a machine code. $1 product, $2 hash of the code
select l.key
from trial_memory t
join licenses l on l.id = t.license_id
where t.product_id = $1 and t.code_hash = $2
