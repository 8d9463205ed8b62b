-- Take a seat or renew it (protocol: floating, algorithm). A machine that holds a regular lease is renewed before any
-- limit is looked at; then a regular seat, for the holder of an overdraft seat as well; then an overdraft seat.
-- A regular lease that would not be granted now, because the limit was lowered, is renewed only if the table has it: it may
-- be of a call that died before its commit. So the caller is sent to look, and comes again with what the table says.
-- ARGV: run id, field, interval (seconds), limit, overdraft, address, friendly name, machine code ('' if it is the field),
-- the most leases to list (0: none), what the table says of a regular lease of this machine ('' unless asked; 1 or 0).
-- Answers {0} or {-1}: not seeded; {1, epoch, now}: refused; {3, epoch, now}: look into the table;
-- {2, epoch, now, kind, start, expires, seq, until when the set has it, kind and expires before (0: none), lease, … (all
-- that live, unless they are too many)}: granted.
local interval, limit, overdraft, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9])
assert(interval and limit and overdraft and most, 'claim takes numbers')
local set, mine = open(ARGV[1], ARGV[2])
if not set then
    return {mine}
end
local now, fraction = clock()
local expires = now + interval + (fraction > 0 and 1 or 0)  -- never shorter than was asked for

local looked = drop_lapsed(set, now)
if mine and mine[EXPIRES] <= now then
    mine = nil
end
local before, ended = 0, 0
if mine then
    before, ended = mine[KIND], mine[EXPIRES]
    set.count[before] = set.count[before] - 1  -- from here on: the others
end
local regular, all = set.count[REGULAR], set.count[REGULAR] + set.count[OVERDRAFT]

local look = before == REGULAR and ARGV[10] == ''  -- if there is no seat otherwise
local kind
if regular < limit or (before == REGULAR and ARGV[10] == '1') then
    kind = REGULAR
elseif all < limit + overdraft and not look then
    kind = OVERDRAFT
end

if not kind then
    if mine then
        set.count[before] = set.count[before] + 1  -- it stays until it ends
    end
    if looked then
        save(set)
    end
    return {look and 3 or 1, set.epoch, now}
end

set.seq = set.seq + 1
set.count[kind] = set.count[kind] + 1
-- A shorter lease is not made shorter here: its verdict may never be committed, and the one answered before would hold.
local start, kept = now, expires
if mine then
    start, kept = mine[START], math.max(expires, mine[EXPIRES])
end
local lease = {kind, start, now, kept, set.seq, ARGV[6], ARGV[7]}
if ARGV[8] ~= '' then
    lease[CODE] = ARGV[8]
end
put(set, ARGV[2], lease, now)
local answer = {2, set.epoch, now, kind, start, expires, set.seq, kept, before, ended}
local leases = set.count[REGULAR] + set.count[OVERDRAFT]
if leases == 1 and most > 0 then
    answer[#answer + 1] = {ARGV[2], unpack(lease)}
elseif leases <= most then
    append_leases(answer, now)
end
return answer
