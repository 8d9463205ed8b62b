-- Remove a lease, unless it was claimed again since: undoes a claim that took a seat and is not committed, ends a released lease.
-- ARGV: run id, field, epoch, seq. Answers 1 if it was done.
local set, mine = open(ARGV[1], ARGV[2])
if not set or set.epoch ~= tonumber(ARGV[3]) or not mine or mine[SEQ] ~= tonumber(ARGV[4]) then
    return 0
end
remove(set, ARGV[2], mine)
return 1
