-- All leases that live. Changes nothing.
-- ARGV: run id, the most leases to answer with.
-- Answers {0} or {-1}: not seeded; {1}: more than that; {2, epoch, now, lease, …}.
local set, why = open(ARGV[1], HEAD)
if not set then
    return {why}
end
if set.count[REGULAR] + set.count[OVERDRAFT] > tonumber(ARGV[2]) then
    return {1}
end
local now = clock()
return append_leases({2, set.epoch, now}, now)
