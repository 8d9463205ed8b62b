-- The floating seats of one license, as every script here finds and leaves them. The scripts know seats and limits;
-- who may ask, and what a license is, they do not know.
--
-- One hash per license: KEYS[1]. A field per lease, named by the machine code, or, if that is longer than 64 bytes, by
-- "\0" and a digest of 16 bytes: no machine code holds a NUL, so none can be mistaken for it. Its value is packed:
--   kind (1 regular, 2 overdraft), start, time of the last claim, expires, seq, and behind these what no script reads:
--   address, friendly name, and the machine code where the field is a digest (replies.py).
-- The field "\0" is the head, packed too:
--   number of regular and of overdraft leases, epoch, seq, a time before which none lapses, the time until which the key is
--   kept, and the run id.
-- Packed, head and leases stay in the small encoding of hashes (values of at most 64 bytes): a quarter of the memory. Of
-- fixed width, because `cmsgpack` takes three times as long as `struct`.
-- Times are whole Unix seconds. Fields and values are read before the first write, since a script that fails is not
-- rolled back.

local HEAD = '\0'
local KIND, START, TIME, EXPIRES, SEQ = 1, 2, 3, 4, 5  -- of a lease
local LEASE, LEASE_BYTES = '<BI4I4I4I8', 21
local REGULAR, OVERDRAFT = 1, 2  -- kinds, and how many there are of each in a set
local EPOCH, LAST, CALM, KEPT, RUN = 3, 4, 5, 6, 7  -- of a set
local SET = '<I4I4I8I8I8I8c16'
local ABSENT, OTHER_LIFE = 0, -1  -- what scripts answer with instead of a set
local NEVER = 9007199254740991
local KEEP = 3000  -- seconds for which a set outlives its leases: one that is there answers sooner than one to be seeded

local key = KEYS[1]

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
    return struct.pack(SET, set[REGULAR], set[OVERDRAFT], set[EPOCH], set[LAST], set[CALM], set[KEPT], set[RUN])
end

-- Return a packed lease, with what is kept behind its numbers.
local function packed_lease(lease, rest)
    return struct.pack(LEASE, lease[KIND], lease[START], lease[TIME], lease[EXPIRES], lease[SEQ]) .. rest
end

-- Write one lease, and the head with it. The key's own end never comes nearer, or a short lease would take a long one
-- along; it is moved rarely, and then well ahead.
local function put(set, field, lease, packed, now)
    if lease[EXPIRES] < set[CALM] then
        set[CALM] = lease[EXPIRES]
    end
    local must = set[KEPT] < lease[EXPIRES] + 60
    if must then
        set[KEPT] = lease[EXPIRES] + KEEP
    end
    redis.call('HSET', key, HEAD, packed_head(set), field, packed)
    if must then
        redis.call('EXPIRE', key, set[KEPT] - now)
    end
end
