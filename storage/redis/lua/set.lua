-- The set of seats, as the scripts beside the claim find and leave it. A claim does the same by itself (claim.lua).

-- Return the head and the lease of a field (nil if there is none) with its packed text; or nil and why the set is not
-- seeded. One that was seeded in another life of the server may be old, whatever it says.
local function open(run, field)
    local packed = redis.call('HMGET', key, HEAD, field)
    if not packed[1] then
        return nil, ABSENT
    end
    local set = {struct.unpack(SET, packed[1])}
    if set[RUN] ~= run then
        return nil, OTHER_LIFE
    end
    return set, packed[2] and {struct.unpack(LEASE, packed[2])} or nil, packed[2]
end

local function packed_head(set)
    return struct.pack(SET, unpack(set, 1, RUN))
end

-- Return a packed lease, with what is kept behind its numbers.
local function packed_lease(lease, rest)
    return struct.pack(LEASE, lease[KIND], lease[START], lease[TIME], lease[EXPIRES], lease[SEQ]) .. rest
end

-- Write one lease, and the head with it.
local function put(set, field, lease, packed, now)
    if lease[EXPIRES] < set[CALM] then
        set[CALM] = lease[EXPIRES]
    end
    local must = set[KEPT] < lease[EXPIRES] + AHEAD
    if must then
        set[KEPT] = lease[EXPIRES] + KEEP
    end
    redis.call('HSET', key, HEAD, packed_head(set), field, packed)
    if must then
        redis.call('EXPIRE', key, set[KEPT] - now)
    end
end
