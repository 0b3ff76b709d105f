-- What wrk asks for: `wrk -s works.lua URL -- WORK [CONNECTIONS]`.

local RESOURCES, WRITTEN = 10000, 1000
local CONTENT = string.rep("x", 1024)

local cumulated, sum = {}, 0
for rank = 1, RESOURCES do
  sum = sum + 1 / rank
  cumulated[rank] = sum
end

-- One of the resources by popularity (Zipf, exponent 1).
local function popular()
  local wanted = math.random() * sum
  local low, high = 1, RESOURCES
  while low < high do
    local middle = math.floor((low + high) / 2)
    if cumulated[middle] < wanted then low = middle + 1 else high = middle end
  end
  return low
end

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local asked, began = 0, os.time()
-- What nobody asked for before.
local function new()
  asked = asked + 1
  return "/1k/new-" .. began .. "-" .. number .. "-" .. asked
end

local function always(method, path, fields, body)
  local request = wrk.format(method, path, fields, body)
  return function() return request end
end

local works = {}

function works.zipf()
  return function() return wrk.format("GET", "/1k/mixed-" .. popular()) end
end

-- What a browser sends beside what it must.
function works.browser()
  return always("GET", "/1k/a", {
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.5",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Referer"] = "http://bench.example/some/page",
    ["Cookie"] = "_ga=GA1.1.1234567890.1700000000; theme=dark",
    ["Connection"] = "keep-alive",
    ["Upgrade-Insecure-Requests"] = "1",
    ["Sec-Fetch-Dest"] = "document",
    ["Sec-Fetch-Mode"] = "navigate",
    ["Sec-Fetch-Site"] = "same-origin",
    ["Priority"] = "u=0, i",
  })
end

function works.range()
  return always("GET", "/128k/a", { ["Range"] = "bytes=1000-2023" })
end

function works.miss()
  return function() return wrk.format("GET", new()) end
end

function works.post_unrouted()
  return always("POST", "/pass/a", { ["Content-Type"] = "application/octet-stream" }, CONTENT)
end

function works.post_routed()
  return function()
    local path = "/1k/mixed-" .. math.random(WRITTEN)
    return wrk.format("POST", path, { ["Content-Type"] = "application/octet-stream" }, CONTENT)
  end
end

-- The traffic of an application with writes: 70 % reads by popularity, 20 %
-- reads of what nobody asked for before, 10 % POST. Every connection mixes all.
function works.mixed()
  return function()
    local kind = math.random(100)
    if kind <= 70 then
      return wrk.format("GET", "/1k/mixed-" .. popular())
    elseif kind <= 90 then
      return wrk.format("GET", new())
    end
    return wrk.format("POST", "/1k/mixed-" .. math.random(WRITTEN), { ["Content-Length"] = "0" })
  end
end

-- Reads that no route matches, on connections that each sent a POST first.
function works.after_post(connections)
  local first, left = always("POST", "/pass/a", {}, CONTENT), connections
  local next = always("GET", "/pass/a")
  return function()
    if left > 0 then
      left = left - 1
      return first()
    end
    return next()
  end
end

local next_request
function init(arguments)
  math.randomseed(began * 100 + number)
  next_request = works[arguments[1]](tonumber(arguments[2]))
end

-- wrk looks for it before anything ran.
function request()
  return next_request()
end
