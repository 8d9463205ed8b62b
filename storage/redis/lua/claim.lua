-- Take a seat or renew it (protocol: floating, algorithm). A machine that holds a regular lease is renewed before any
-- limit is looked at; then a regular seat, for the holder of an overdraft seat as well; then an overdraft seat.
-- A regular lease that would not be granted now, because the limit was lowered, is renewed only if the table has it: it may
-- be of a call that died before its commit. So the caller is sent to look, and comes again with what the table says.
-- ARGV: run id, field, interval (seconds), limit, overdraft, what is kept of the machine, the most leases to list (0: none),
-- what the table says of a regular lease of this machine ('' unless asked; 1 or 0).
-- Answers {0} or {-1}: not seeded; {1, epoch, now}: refused; {3, epoch, now}: look into the table;
-- {2, epoch, now, kind, start, expires, seq, until when the set has it, kind and expires before (0: none)}: granted; with
-- a list behind it, unless they are too many: field and packed lease of all, head and ended ones too.
--
-- Nearly every call of these scripts is a claim, so it is written out, without the functions and the tables of set.lua:
-- they are made anew each time, and a claim takes half as long again with them.
local LINGER = 600  -- seconds for which an ended lease may stay if it is in nobody's way

local field, most = ARGV[2], tonumber(ARGV[7])
local interval, limit, overdraft = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
assert(interval and limit and overdraft and most, 'claim takes numbers')
local found = redis.call('HMGET', key, HEAD, field)
if not found[1] then
    return {ABSENT}
end
local set = {struct.unpack(SET, found[1])}
if set[RUN] ~= ARGV[1] then
    return {OTHER_LIFE}
end
local before, start, ended, _ = 0, 0, 0
if found[2] then
    before, start, _, ended = struct.unpack(LEASE, found[2])
end
local now, fraction = clock()
local expires = now + interval + (fraction > 0 and 1 or 0)  -- never shorter than was asked for

-- Ended leases are counted until they are removed, which takes as long as there are leases. So it is done only where it
-- can matter: nothing can have ended before `calm`, and while there seems to be a seat there is one.
local own = before == REGULAR and 1 or 0
local looked = now >= set[CALM] and (set[REGULAR] - own >= limit or most > 0 or now >= set[CALM] + LINGER)
if looked then
    set[REGULAR], set[OVERDRAFT], set[CALM] = 0, 0, NEVER
    local all, gone = redis.call('HGETALL', key), {}
    for n = 1, #all, 2 do
        if all[n] ~= HEAD then
            local kind, _, _, ends = struct.unpack(LEASE, all[n + 1])
            if ends <= now then
                gone[#gone + 1] = all[n]
            else
                set[kind] = set[kind] + 1
                set[CALM] = math.min(set[CALM], ends)
            end
        end
    end
    for _, each in ipairs(gone) do
        redis.call('HDEL', key, each)
    end
end
-- From here on only the others are counted.
if before > 0 and (ended > now or not looked) then
    set[before] = set[before] - 1
end
if ended <= now then
    before, start, ended = 0, now, 0
end
local regular, all = set[REGULAR], set[REGULAR] + set[OVERDRAFT]

local look = before == REGULAR and ARGV[8] == ''  -- if there is no seat otherwise
local kind
if regular < limit or (before == REGULAR and ARGV[8] == '1') then
    kind = REGULAR
elseif all < limit + overdraft and not look then
    kind = OVERDRAFT
end

if not kind then
    if looked then
        if before > 0 then
            set[before] = set[before] + 1  -- it stays until it ends
        end
        redis.call('HSET', key, HEAD, struct.pack(SET, unpack(set, 1, RUN)))
    end
    return {look and 3 or 1, set[EPOCH], now}
end

local seq = set[LAST] + 1
set[LAST] = seq
set[kind] = set[kind] + 1
-- A shorter lease is not made shorter here: its verdict may never be committed, and the one answered before would hold.
local kept = expires > ended and expires or ended
if kept < set[CALM] then
    set[CALM] = kept
end
local must = set[KEPT] < kept + AHEAD
if must then
    set[KEPT] = kept + KEEP
end
local packed = struct.pack(LEASE, kind, start, now, kept, seq) .. ARGV[6]
redis.call('HSET', key, HEAD, struct.pack(SET, unpack(set, 1, RUN)), field, packed)
if must then
    redis.call('EXPIRE', key, set[KEPT] - now)
end
local list
if all + 1 <= most then
    list = all == 0 and {field, packed} or redis.call('HGETALL', key)
end
return {2, set[EPOCH], now, kind, start, expires, seq, kept, before, ended, list}
