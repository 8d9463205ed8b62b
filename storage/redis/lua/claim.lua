-- Take a seat or renew it (protocol: floating, algorithm). A machine that holds a regular lease is renewed before any
-- limit is looked at; then a regular seat, for the holder of an overdraft seat as well; then an overdraft seat.
-- A regular lease that would not be granted now, because the limit was lowered, is renewed only if the table has it: it may
-- be of a call that died before its commit. So the caller is sent to look, and comes again with what the table says.
-- ARGV: run id, field, interval (seconds), limit, overdraft, what is kept of the machine, the most leases to list (0: none),
-- what the table says of a regular lease of this machine ('' unless asked; 1 or 0).
-- Answers {0} or {-1}: not seeded; {1, epoch, now}: refused; {3, epoch, now}: look into the table;
-- {2, epoch, now, kind, start, expires, seq, until when the set has it, kind and expires before (0: none)}: granted; with
-- a list behind it, unless they are too many: field and packed lease of all, head and ended ones too.
local LINGER = 600  -- seconds for which an ended lease may stay if it is in nobody's way

local interval, limit, overdraft, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
assert(interval and limit and overdraft and most, 'claim takes numbers')
local set, mine = open(ARGV[1], ARGV[2])
if not set then
    return {mine}
end
local now, fraction = clock()
local expires = now + interval + (fraction > 0 and 1 or 0)  -- never shorter than was asked for

-- Remove the leases that have ended, and count the others.
local function drop_lapsed()
    set[REGULAR], set[OVERDRAFT], set[CALM] = 0, 0, NEVER
    local all, ended = redis.call('HGETALL', key), {}
    for n = 1, #all, 2 do
        if all[n] ~= HEAD then
            local kind, _, _, ends = struct.unpack(LEASE, all[n + 1])
            if ends <= now then
                ended[#ended + 1] = all[n]
            else
                set[kind] = set[kind] + 1
                set[CALM] = math.min(set[CALM], ends)
            end
        end
    end
    for _, field in ipairs(ended) do
        redis.call('HDEL', key, field)
    end
end

-- Ended leases are counted until they are removed, which takes as long as there are leases. So it is done only where it
-- can matter: nothing can have ended before `calm`, and while there seems to be a seat there is one.
local own = mine and mine[KIND] == REGULAR and 1 or 0
local looked = now >= set[CALM] and (set[REGULAR] - own >= limit or most > 0 or now >= set[CALM] + LINGER)
if looked then
    drop_lapsed()
end
local before, ended = 0, 0
if mine and mine[EXPIRES] > now then
    before, ended = mine[KIND], mine[EXPIRES]
end
if mine and (before > 0 or not looked) then
    set[mine[KIND]] = set[mine[KIND]] - 1  -- from here on: the others
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
        redis.call('HSET', key, HEAD, packed_head(set))
    end
    return {look and 3 or 1, set[EPOCH], now}
end

set[LAST] = set[LAST] + 1
set[kind] = set[kind] + 1
-- A shorter lease is not made shorter here: its verdict may never be committed, and the one answered before would hold.
local start, kept = now, expires
if before > 0 then
    start, kept = mine[START], math.max(expires, ended)
end
local lease = {kind, start, now, kept, set[LAST]}
local packed = packed_lease(lease, ARGV[6])
put(set, ARGV[2], lease, packed, now)
local answer = {2, set[EPOCH], now, kind, start, expires, set[LAST], kept, before, ended}
local leases = set[REGULAR] + set[OVERDRAFT]
if leases == 1 and most > 0 then
    answer[11] = {ARGV[2], packed}
elseif leases <= most then
    answer[11] = redis.call('HGETALL', key)
end
return answer
