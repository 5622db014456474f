-- One row of the 8×8 digits as a native prediction request.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = assert(io.open(os.getenv("MILLRACE_BENCH_BODY"), "r"))
wrk.body = file:read("*a")
file:close()
