-- Counts what the key KEYS[1] has used, and says in how many microseconds there is room for more; 0:
-- now. ARGV[1]: what it used, 0 to look only, ARGV[2]: the burst, both in microseconds. The clock is
-- Redis's own. The rule of `after_use` and `look` in per_minute.rs: change both.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local used = tonumber(ARGV[1])
local burst = tonumber(ARGV[2])
local rest = tonumber(redis.call('GET', KEYS[1])) or now
-- Further ahead than the rule lets it be: the clock was set back.
if rest > now + 2 * burst then rest = now end
if used > 0 then
    rest = math.min(math.max(rest, now) + used, now + 2 * burst)
    -- Not tostring, which would round to 14 digits.
    redis.call('SET', KEYS[1], string.format('%.0f', rest), 'PX', math.ceil((rest - now) / 1000))
end
return math.max(rest - now - burst + 1, 0)
