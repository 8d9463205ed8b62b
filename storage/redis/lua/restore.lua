-- Make a lease what it was before a claim that is not committed, unless it was claimed again since. It keeps its seq: a
-- release may have seen it.
-- ARGV: run id, field, epoch, seq, kind, expires. Answers 1 if it was done.
local set, mine, packed = open(ARGV[1], ARGV[2])
if not set or set[EPOCH] ~= tonumber(ARGV[3]) or not mine or mine[SEQ] ~= tonumber(ARGV[4]) then
    return 0
end
local now = clock()
set[mine[KIND]] = set[mine[KIND]] - 1
mine[KIND], mine[EXPIRES] = tonumber(ARGV[5]), tonumber(ARGV[6])
set[mine[KIND]] = set[mine[KIND]] + 1
put(set, ARGV[2], mine, packed_lease(mine, packed:sub(LEASE_BYTES + 1)), now)
return 1
