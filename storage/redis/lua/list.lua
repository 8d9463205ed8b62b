-- All leases. Changes nothing.
-- ARGV: run id, the most leases to answer with.
-- Answers {0} or {-1}: not seeded; {1}: more than that; {2, epoch, now, {field and packed lease of all, head and ended ones
-- too}}.
local set, why = open(ARGV[1], HEAD)
if not set then
    return {why}
end
if set[REGULAR] + set[OVERDRAFT] > tonumber(ARGV[2]) then
    return {1}
end
local now = clock()
return {2, set[EPOCH], now, redis.call('HGETALL', key)}
