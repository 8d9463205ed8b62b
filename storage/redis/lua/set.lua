-- The floating seats of one license, as every script here finds and leaves them. The scripts know seats and limits;
-- who may ask, and what a license is, they do not know.
--
-- One hash per license: KEYS[1]. A field per lease, named by the machine code, or, if that is longer than 64 bytes, by
-- "\0" and a digest of 16 bytes: no machine code holds a NUL, so none can be mistaken for it. Its value is a packed list:
--   kind (1 regular, 2 overdraft), start, time of the last claim, expires, seq, address, friendly name, and the machine
--   code where the field is a digest.
-- The field "\0" is the head, a packed list too:
--   epoch, run id, seq, number of regular and of overdraft leases, a time before which none lapses, and the time until
--   which the key is kept.
-- Packed, head and leases stay in the small encoding of hashes (values of at most 64 bytes): a quarter of the memory.
-- Times are whole Unix seconds. Fields and values are read before the first write, since a script that fails is not
-- rolled back.

local HEAD = '\0'
local KIND, START, TIME, EXPIRES, SEQ, CODE = 1, 2, 3, 4, 5, 8
local REGULAR, OVERDRAFT = 1, 2
local ABSENT, OTHER_LIFE = 0, -1  -- what scripts answer with instead of a set
local NEVER = 9007199254740991
local KEEP = 3000  -- seconds for which a set outlives its leases: one that is there answers sooner than one to be seeded

local key = KEYS[1]

-- Return the head and the lease of a field (nil if there is none); or nil and why the set is not seeded. One that was
-- seeded in another life of the server may be old, whatever it says.
local function open(run, field)
    local packed = redis.call('HMGET', key, HEAD, field)
    if not packed[1] then
        return nil, ABSENT
    end
    local head = cmsgpack.unpack(packed[1])
    if head[2] ~= run then
        return nil, OTHER_LIFE
    end
    return {epoch = head[1], run = run, seq = head[3], count = {head[4], head[5]}, calm = head[6], kept = head[7]},
        packed[2] and cmsgpack.unpack(packed[2]) or nil
end

local function packed_head(set)
    return cmsgpack.pack({set.epoch, set.run, set.seq, set.count[REGULAR], set.count[OVERDRAFT], set.calm, set.kept})
end

local function save(set)
    redis.call('HSET', key, HEAD, packed_head(set))
end

-- Write one lease, and the head with it. The key's own end never comes nearer, or a short lease would take a long one
-- along; it is moved rarely, and then well ahead.
local function put(set, field, lease, now)
    if lease[EXPIRES] < set.calm then
        set.calm = lease[EXPIRES]
    end
    local must = set.kept < lease[EXPIRES] + 60
    if must then
        set.kept = lease[EXPIRES] + KEEP
    end
    redis.call('HSET', key, HEAD, packed_head(set), field, cmsgpack.pack(lease))
    if must then
        redis.call('EXPIRE', key, set.kept - now)
    end
end

local function remove(set, field, lease)
    set.count[lease[KIND]] = set.count[lease[KIND]] - 1
    redis.call('HDEL', key, field)
    save(set)
end

-- Call visit(field, lease) for each lease of the set.
local function each(visit)
    local all = redis.call('HGETALL', key)
    for n = 1, #all, 2 do
        if all[n] ~= HEAD then
            visit(all[n], cmsgpack.unpack(all[n + 1]))
        end
    end
end

-- Append all leases that live to an answer: {field, kind, start, time, expires, seq, address, name, code if the field is a
-- digest} each.
local function append_leases(answer, now)
    each(function(field, lease)
        if lease[EXPIRES] > now then
            answer[#answer + 1] = {field, unpack(lease)}
        end
    end)
    return answer
end

-- Remove the leases that have ended; return whether the set was looked through. Nothing can have ended before `calm`,
-- so that most claims look at their own lease only.
local function drop_lapsed(set, now)
    if now < set.calm then
        return false
    end
    set.count, set.calm = {0, 0}, NEVER
    local ended = {}
    each(function(field, lease)
        if lease[EXPIRES] <= now then
            ended[#ended + 1] = field
        else
            set.count[lease[KIND]] = set.count[lease[KIND]] + 1
            set.calm = math.min(set.calm, lease[EXPIRES])
        end
    end)
    for _, field in ipairs(ended) do
        redis.call('HDEL', key, field)
    end
    return true
end
