-- Where a lease stands: its seq, or the set's if there is none. A release is committed under it, so that a renewal that
-- comes between is newer and lives. Changes nothing.
-- ARGV: run id, field. Answers {0} or {-1}: not seeded; {1, epoch, seq, now}.
local set, mine = open(ARGV[1], ARGV[2])
if not set then
    return {mine}
end
local now = clock()
return {1, set[EPOCH], mine and mine[SEQ] or set[LAST], now}
