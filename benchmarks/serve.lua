-- What wrk asks a server for: benchmarks/serve.py puts the list of sentences and identifiers before it.
-- Shares of the kinds: see SHARES there. Each thread draws its own, from a seed of its own.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local KINDS = {
  search = function()
    local words = SENTENCES[math.random(#SENTENCES)]
    if math.random() < FRESH then
      words = words .. " " .. math.random(1000000000)
    end
    local body = '{"terms": [{"text": "' .. words .. '"}], "k": 20, "cut": 0}'
    return wrk.format("POST", "/api/v1/search", { ["Content-Type"] = "application/json" }, body)
  end,
  thumbnail = function()
    return wrk.format("GET", "/api/v1/pictures/" .. IDS[math.random(#IDS)] .. "/thumbnail?side=320")
  end,
  picture = function()
    return wrk.format("GET", "/api/v1/pictures/" .. IDS[math.random(#IDS)])
  end,
  health = function()
    return wrk.format("GET", "/api/v1/health")
  end,
}

function init(args)
  math.randomseed(number)
end

function request()
  local drawn = math.random()
  for _, kind in ipairs(SHARES) do
    drawn = drawn - kind.share
    if drawn <= 0 then
      return KINDS[kind.name]()
    end
  end
  return KINDS.health()
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50_ms": %f, "p90_ms": %f, "p99_ms": %f, "most_ms": %f, '
      .. '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
