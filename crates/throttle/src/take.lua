-- Takes one request of the key KEYS[1], or says in how many microseconds there is room.
-- ARGV[1]: the spacing, ARGV[2]: the burst, both in microseconds. The clock is Redis's own, so that
-- the clocks of the nodes don't matter. The rule of `gcra` in per_minute.rs: change both.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local burst = tonumber(ARGV[2])
local rest = tonumber(redis.call('GET', KEYS[1])) or now
-- Further ahead than the rule lets it be: the clock was set back.
if rest > now + burst then rest = now end
local next = math.max(rest, now) + tonumber(ARGV[1])
local early = next - now - burst
if early > 0 then return early end
-- Not tostring, which would round to 14 digits.
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return 0
