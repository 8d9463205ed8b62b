-- How the floating seats of one license are kept. The scripts know seats and limits; who may ask, and what a license is,
-- they do not know.
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
-- The key's own end never comes nearer, or a short lease would take a long one along; it is moved rarely, and then well
-- ahead: when it is less than so many seconds behind a lease.
local AHEAD = 60

local key = KEYS[1]
