-- Shorten a lease whose shorter interval is committed now, unless it was claimed again since.
-- ARGV: run id, field, epoch, seq, expires. Answers 1 if it was done.
local set, mine, packed = open(ARGV[1], ARGV[2])
if not set or set[EPOCH] ~= tonumber(ARGV[3]) or not mine or mine[SEQ] ~= tonumber(ARGV[4]) then
    return 0
end
local now = clock()
mine[EXPIRES] = tonumber(ARGV[5])
put(set, ARGV[2], mine, packed_lease(mine, packed:sub(LEASE_BYTES + 1)), now)
return 1
