-- With BENCH_PATHS=n the path gets one of the numbers from 1 to n at its end, in turn.
local count, number = tonumber(os.getenv("BENCH_PATHS") or ""), 0
if count then
  function request()
    number = number % count + 1
    return wrk.format(nil, wrk.path .. number)
  end
end

-- Prints what the benchmark needs as one line that a program can read.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "RESULT requests=%d microseconds=%d bytes=%d errors=%d p50=%d p99=%d\n",
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
