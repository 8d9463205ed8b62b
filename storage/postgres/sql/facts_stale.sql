-- Which of the facts (ordinals from 1) no longer hold. $1 facts
select stale_facts from ledger_stale('{}', '{}', $1::fact[], '{}', '{}')
