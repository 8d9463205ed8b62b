-- Remove a lease, unless it was claimed again since: undoes a claim that took a seat and is not committed, ends a released lease.
-- ARGV: run id, field, epoch, seq. Answers 1 if it was done.
local set, mine = open(ARGV[1], ARGV[2])
if not set or set[EPOCH] ~= tonumber(ARGV[3]) or not mine or mine[SEQ] ~= tonumber(ARGV[4]) then
    return 0
end
set[mine[KIND]] = set[mine[KIND]] - 1
redis.call('HDEL', key, ARGV[2])
redis.call('HSET', key, HEAD, packed_head(set))
return 1
