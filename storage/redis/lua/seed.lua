-- Put leases, as PostgreSQL has them, under an epoch: over nothing, over what another life of the server left, or over a
-- lower epoch; never over the same one, or a seed that arrives late would undo what was claimed since.
-- ARGV: run id, epoch, then field and packed lease of each (with seq 0). Answers 1 if it was done.
local AT_ONCE = 400  -- words of a command; Lua hands over some thousand at the most

local run, epoch = ARGV[1], tonumber(ARGV[2])
local there = open(run, HEAD)
if there and there[EPOCH] >= epoch then
    return 0
end
local now = clock()
local set = {0, 0, epoch, 0, NEVER, now + KEEP, run}
local words = {}
redis.call('DEL', key)
for n = 3, #ARGV, 2 do
    local kind, _, _, ends = struct.unpack(LEASE, ARGV[n + 1])
    if ends > now then
        set[kind] = set[kind] + 1
        set[CALM] = math.min(set[CALM], ends)
        set[KEPT] = math.max(set[KEPT], ends + KEEP)
        words[#words + 1], words[#words + 2] = ARGV[n], ARGV[n + 1]
    end
    if #words >= AT_ONCE then
        redis.call('HSET', key, unpack(words))
        words = {}
    end
end
redis.call('HSET', key, HEAD, packed_head(set), unpack(words))
redis.call('EXPIRE', key, set[KEPT] - now)
return 1
