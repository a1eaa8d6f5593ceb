-- wrk script: POST one chat request with one key, or with many in turn.
--   BENCH_MODEL  model name        BENCH_STREAM  1: ask for a stream
--   BENCH_KEYS   file with one key a line
local stream = os.getenv("BENCH_STREAM") == "1" and ',"stream":true' or ""
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"' .. os.getenv("BENCH_MODEL") .. '","messages":[' ..
  '{"role":"system","content":"You are a helpful assistant."},' ..
  '{"role":"user","content":"Write one sentence about the sea."}],' ..
  '"max_tokens":64,"temperature":0.7' .. stream .. '}'

local keys = {}
for line in io.lines(os.getenv("BENCH_KEYS")) do keys[#keys + 1] = line end
wrk.headers["Authorization"] = "Bearer " .. keys[1]

if #keys > 1 then
  local ready, turn = {}, 0
  function init()
    for i, key in ipairs(keys) do
      wrk.headers["Authorization"] = "Bearer " .. key
      ready[i] = wrk.format()
    end
  end
  function request()
    turn = turn % #ready + 1
    return ready[turn]
  end
end

-- RESULT requests seconds errors p50 p99 (microseconds)
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %.6f %d %.0f %.0f\n", summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
