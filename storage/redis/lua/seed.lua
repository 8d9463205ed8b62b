-- Put leases, as PostgreSQL has them, under an epoch: over nothing, over what another life of the server left, or over a
-- lower epoch; never over the same one, or a seed that arrives late would undo what was claimed since.
-- ARGV: run id, epoch, then eight for each lease: field, kind, start, time, expires, address, friendly name, machine code
-- ('' if it is the field). Answers 1 if it was done.
local run, epoch = ARGV[1], tonumber(ARGV[2])
local there = open(run, HEAD)
if there and there.epoch >= epoch then
    return 0
end
local now = clock()
local set = {epoch = epoch, run = run, seq = 0, count = {0, 0}, calm = NEVER, kept = now + KEEP}
redis.call('DEL', key)
for n = 3, #ARGV, 8 do
    local lease = {
        tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2]), tonumber(ARGV[n + 3]), tonumber(ARGV[n + 4]), 0, ARGV[n + 5],
        ARGV[n + 6],
    }
    if ARGV[n + 7] ~= '' then
        lease[CODE] = ARGV[n + 7]
    end
    if lease[EXPIRES] > now then
        redis.call('HSET', key, ARGV[n], cmsgpack.pack(lease))
        set.count[lease[KIND]] = set.count[lease[KIND]] + 1
        set.calm = math.min(set.calm, lease[EXPIRES])
        set.kept = math.max(set.kept, lease[EXPIRES] + KEEP)
    end
end
save(set)
redis.call('EXPIRE', key, set.kept - now)
return 1
