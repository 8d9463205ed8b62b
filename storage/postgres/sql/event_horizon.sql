-- The last id drawn for an event so far, and which of the facts no longer hold. $1 facts
select s.last_value as horizon, f.stale_facts
from event_id s, ledger_stale('{}', '{}', $1::fact[], '{}', '{}') f
