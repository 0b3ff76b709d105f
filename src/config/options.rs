//! Every option of `proxy.toml` but the routes', in the order of the file.
//!
//! The defaults of the fields of [`Config`] are decided here and nowhere else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::kinds::{Choice, Durations, Flag, List, OneOrMore, Parsed, Sizes, Whole, Wrong};
use super::reader::Table;
use super::{
    AdminConfig, CoalescingConfig, CoherenceConfig, CoherenceMode, Config, EvictionPolicy, Limits,
    ListenAddress, MemoryConfig, OriginConfig, SessionMode, SpoolPlace, UnderscoreFields, Upstream,
    address, caching, checks, listen, redis, routes, tls, watch,
};

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// The longest wait anything may be configured to.
const DAY: Duration = Duration::from_secs(86_400);
/// Data threads; more than any machine has use for.
const THREADS_MAX: u64 = 1_024;
/// Reads everything. Total: whatever cannot be used was reported, and its
/// default stands in; `upstream_if_missing` does so for the one value that has
/// none.
pub(super) fn config(mut root: Table<'_>, upstream_if_missing: Upstream) -> Config {
    let listen = root.option(
        "listen",
        vec![ListenAddress::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080))],
        OneOrMore(listen::listen()),
        "Where clients connect. Port 0 takes any free port. A Unix socket has mode 0660: processes of Pannier's user and group may connect. Its file is made at the start, in place of one that nobody listens on, and removed at the end.",
    );
    let proxy_protocol = root.option(
        "proxy_protocol",
        false,
        Flag,
        "Whether a connection to `listen` begins with a header of the PROXY protocol, version 1 or 2, that says whose it is: from limits.trusted_proxies alone; any other connection is closed.",
    );
    let upstream = root.required(
        "upstream",
        "\"http://127.0.0.1:3000\"",
        address::upstream(),
        "The application behind. Without a port: 80, or 443 with https.",
    );
    let threads = root.option(
        "threads",
        0,
        Whole {
            min: 0,
            max: THREADS_MAX,
        },
        "Threads that serve clients; 0: one for each core.",
    );
    let tls = root
        .optional_table(
            "tls",
            "TLS for clients: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. Leave the table out where something in front of Pannier ends TLS.",
        )
        .map(tls::read);
    let admin = admin(root.table(
        "admin",
        "The listener for operators: statistics, invalidation, dashboard.",
    ));
    let origin = origin(root.table("origin", "Connections to the upstream."));
    let mut limits = limits(root.table("limits", "Bounds on what clients may do."));
    let cache = caching::cache(root.table("cache", "What is the same for all routes."));
    let memory = memory(root.table("memory", "The store in this process (L1)."));
    let redis = root
        .optional_table("redis", "The store shared by instances (L2), and what keeps them coherent. Leave the table out to run on memory alone.")
        .map(redis::read);
    let coalescing = coalescing(root.table("coalescing", "Concurrent requests for one cache key."));
    let coherence = coherence(root.table(
        "coherence",
        "How instances that share a namespace stay in step.",
    ));
    let invalidation =
        caching::invalidation(root.table("invalidation", "What a write invalidates unasked."));
    let health = watch::health(root.table(
        "health",
        "From where on `/health` calls something a warning, or critical.",
    ));
    let log = watch::log(root.table("log", "What is logged."));
    let (routes, invalidations) = routes::read(&mut root, &cache);
    let is_shared = redis.is_some();
    let warm = root
        .tables(
            "warm",
            "What is fetched at the start, so that clients find it stored.",
        )
        .into_iter()
        .filter_map(|table| watch::warm(table, is_shared))
        .collect();

    if upstream.as_ref().is_some_and(Upstream::may_speak_http2) {
        limits.grpc_idle_timeout = Some(origin.grpc_idle_timeout);
    }
    let tls = tls.flatten();
    let tls_listen = tls.as_ref().and_then(|tls| tls.listen.as_deref());
    let all: Vec<ListenAddress> = [&*listen, tls_listen.unwrap_or_default()].concat();
    checks::listeners(&root, &all, admin.as_ref());
    checks::no_loop(&root, &all, upstream.as_ref());
    checks::proxy_protocol(&root, &listen, proxy_protocol, tls.as_ref(), &limits);
    root.finish();
    Config {
        listen,
        proxy_protocol,
        upstream: upstream.unwrap_or(upstream_if_missing),
        threads: match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => count(threads),
        },
        tls,
        origin,
        limits,
        admin,
        cache,
        memory,
        redis: redis.flatten(),
        coalescing,
        coherence,
        invalidation,
        routes,
        invalidations,
        warm,
        health,
        log,
    }
}

pub(super) fn admin(mut table: Table<'_>) -> Option<AdminConfig> {
    let listen = table.option(
        "listen",
        Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9090)),
        address::listen_or_off(),
        "Where operators connect; \"off\": nowhere. Beyond loopback a token is required.",
    );
    let token = table.optional(
        "token",
        "\"${PANNIER_ADMIN_TOKEN}\"",
        address::token(),
        "Bearer token that every request but /livez and /readyz must carry.",
    );
    let hosts = table.option(
        "hosts",
        Vec::new(),
        List(address::host_name()),
        "Names by which the listener may be asked without a token, besides localhost and addresses: a web page could point any other name to this machine and read the answers.",
    );
    let is_exposed = listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback());
    if is_exposed && !table.has("token") {
        table.problem(
            "listen",
            "`admin.listen` is reachable from other machines and `admin.token` is missing",
            Some("add `token = \"${PANNIER_ADMIN_TOKEN}\"`, or listen on 127.0.0.1".to_owned()),
        );
    }
    table.finish();
    listen.map(|listen| AdminConfig {
        listen,
        token,
        hosts,
    })
}

fn origin(mut table: Table<'_>) -> OriginConfig {
    let config = OriginConfig {
        connect_timeout: table.option("connect_timeout", seconds(2), waits(), "Until a connection stands, TLS included."),
        response_timeout: table.option("response_timeout", seconds(30), waits(), "From the request sent to the head of the response."),
        body_idle_timeout: table.option("body_idle_timeout", seconds(60), waits(), "Between two pieces of a response body."),
        idle_timeout: table.option("idle_timeout", seconds(4), waits(), "An unused connection is closed after it. Less than the origin waits (Node.js, uvicorn and Apache: 5 s), so that no request meets a connection that the origin is closing."),
        idle_connections_max: count(table.option(
            "idle_connections_max",
            64,
            Whole { min: 0, max: 65_536 },
            "Unused connections kept, for each thread; further ones are closed.",
        )),
        connection_age_max: table.option("connection_age_max", seconds(300), waits(), "A connection older than this is not used again, so that a name that leads elsewhere is followed under steady traffic."),
        grpc_idle_timeout: table.option("grpc_idle_timeout", seconds(3600), waits(), "Between two messages of a gRPC call, from either side, and until its answer begins, in place of the other time-outs: a call ends by the deadline of its client. Where the upstream is h2c or https."),
        retries: table.option(
            "retries",
            1,
            Whole { min: 0, max: 10 },
            "How often a request that may be repeated (GET, PUT, DELETE and their kin) is asked again when its connection closes before a byte of the answer came. 1: only where that connection had been used before; from 2 on, also where it was new.",
        ),
        retry_window: table.option(
            "retry_window",
            Duration::ZERO,
            Durations { min: Duration::ZERO, max: seconds(300) },
            "For so long a request that could not be sent (no connection, no such host) waits and tries again while the upstream restarts; so does one that may be repeated and whose connection closed before a byte of the answer came. No more requests than limits.queue_max wait; further ones get 503. 0: none waits.",
        ),
        check: table.option(
            "check",
            None,
            Parsed {
                expects: "a path with its query, starting with `/`",
                parse: |text| match text {
                    "" => Ok(None),
                    text => watch::parse_target(text).map(Some),
                },
                write: |path| path.clone().unwrap_or_default(),
            },
            "A GET of this path every `check_interval` tells whether the origin is there, without a client; 2xx and 3xx pass. \"\": no check.",
        ),
        check_interval: table.option("check_interval", seconds(5), waits(), "Between two checks; an answer may take as long."),
        http2: table.option("http2", true, Flag, "Whether https upstreams are offered HTTP/2; false: HTTP/1.1 is spoken. An h2c upstream is always spoken to in HTTP/2."),
        ca_file: table.option(
            "ca_file",
            None,
            pem_file(),
            "Certificates to trust in place of the system's, for https upstreams; \"\": the system's.",
        ),
    };
    table.finish();
    config
}

/// A file of certificates; `""` is none.
pub(super) fn pem_file() -> Parsed<Option<PathBuf>> {
    Parsed {
        expects: "the path of a PEM file",
        parse: |text| match text {
            "" => Ok(None),
            text if text.contains('\0') => Err(Wrong::new("this is no path")),
            path => Ok(Some(path.into())),
        },
        write: |path| {
            path.as_ref()
                .map_or_else(String::new, |path| path.display().to_string())
        },
    }
}

fn limits(mut table: Table<'_>) -> Limits {
    let config = Limits {
        connections_max: count(table.option(
            "connections_max",
            10_000,
            Whole { min: 1, max: 1_000_000 },
            "Open client connections; further ones wait in the kernel's queue.",
        )),
        head_bytes_max: count(table.option(
            "head_bytes_max",
            32 * KIB,
            Sizes { min: 8 * KIB, max: MIB },
            "Request line and fields together; past it 431, as for more than 100 fields.",
        )),
        target_bytes_max: count(table.option(
            "target_bytes_max",
            8 * KIB,
            Sizes { min: 256, max: 64 * KIB - 2 },
            "Request target; past it 414.",
        )),
        body_bytes_max: table.option(
            "body_bytes_max",
            0,
            Sizes { min: 0, max: TIB },
            "Request body; past it 413; 0: no bound.",
        ),
        head_timeout: table.option("head_timeout", seconds(10), waits(), "From the first byte of a request head to its last; also for the first byte of a new connection."),
        body_idle_timeout: table.option("body_idle_timeout", seconds(30), waits(), "Between two pieces of a request body."),
        body_rate_min: table.option(
            "body_rate_min",
            256,
            Sizes { min: 0, max: GIB },
            "A request body that comes more slowly, in bytes for each second that its client is waited for, gets 408; the first ten seconds are free; 0: no bound.",
        ),
        write_idle_timeout: table.option("write_idle_timeout", seconds(60), waits(), "A client that takes nothing for so long is cut."),
        idle_timeout: table.option("idle_timeout", seconds(75), waits(), "A kept-alive connection without a request is closed after it."),
        drain_timeout: table.option("drain_timeout", seconds(30), waits(), "What is unfinished so long after SIGTERM is cut."),
        inflight_max: table.option("inflight_max", 10_000, PLACES, "Requests being answered at once, to the end of a body that is streamed; further ones wait."),
        upstream_inflight_max: table.option("upstream_inflight_max", 4_096, PLACES, "Exchanges with the origin at once, to the end of the body; further ones wait."),
        queue_max: table.option(
            "queue_max",
            1_024,
            Whole { min: 0, max: 1_000_000 },
            "Waiting for each of the two, and for an upstream that restarts (origin.retry_window); past it 503.",
        ),
        queue_timeout: table.option("queue_timeout", seconds(1), short_waits(), "For one who waits; past it 503."),
        trusted_proxies: table.option(
            "trusted_proxies",
            Vec::new(),
            List(address::trusted_peer()),
            "Peers whose X-Forwarded-* and Forwarded fields are kept and appended to; those of others are replaced. \"unix\": every peer on a Unix socket in `listen`.",
        ),
        underscore_fields: table.option(
            "underscore_fields",
            UnderscoreFields::Drop,
            Choice(&[("drop", UnderscoreFields::Drop), ("pass", UnderscoreFields::Pass)]),
            "Request fields with _ in their names, which many applications read as the ones with -: \"drop\" takes them away; \"pass\" forwards those that are no twin of a field that Pannier itself sets or takes away.",
        ),
        grpc_idle_timeout: None,
    };
    if config.target_bytes_max > config.head_bytes_max {
        table.problem(
            if table.has("target_bytes_max") {
                "target_bytes_max"
            } else {
                "head_bytes_max"
            },
            "`limits.target_bytes_max` is more than `limits.head_bytes_max`, which includes it",
            None,
        );
    }
    table.finish();
    config
}

fn memory(mut table: Table<'_>) -> MemoryConfig {
    let mut config = MemoryConfig {
        follows_container: !table.has("bytes_max"),
        bytes_max: table.option(
            "bytes_max",
            256 * MIB,
            Sizes { min: MemoryConfig::BYTES_MAX_MIN, max: TIB },
            "Bound on everything the store holds: bodies, fields, keys, index; past it what `policy` says goes. Left out in a container with a memory limit: a quarter of that.",
        ),
        policy: table.option(
            "policy",
            EvictionPolicy::Lru,
            Choice(&[("lru", EvictionPolicy::Lru), ("s3fifo", EvictionPolicy::S3Fifo)]),
            "What goes first to make room: \"lru\", the least recently used, exactly; \"s3fifo\", what is new and was not asked for again, which resists scans.",
        ),
        entries_max: bound(table.option("entries_max", 0, ENTRIES, "Stored responses; 0: no bound but bytes_max.")),
        body_bytes_max: table.option(
            "body_bytes_max",
            8 * MIB,
            Sizes { min: 1, max: 4 * GIB },
            "Larger bodies stream through and are not stored; by default no more than bytes_max and filling_bytes_max.",
        ),
        filling_bytes_max: table.option(
            "filling_bytes_max",
            64 * MIB,
            Sizes { min: 1, max: TIB },
            "Bodies on their way into the store, all together; past it responses stream through and are not stored.",
        ),
        variants_max: count(table.option(
            "variants_max",
            64,
            Whole { min: 1, max: 10_000 },
            "Stored responses of one key that differ by Vary; past it the least recently used goes.",
        )),
    };
    for (name, bound) in [
        ("bytes_max", config.bytes_max),
        ("filling_bytes_max", config.filling_bytes_max),
    ] {
        if !table.has("body_bytes_max") {
            // A small store has smaller bodies without being told.
            config.body_bytes_max = config.body_bytes_max.min(bound);
        }
        if config.body_bytes_max > bound {
            table.problem(
                "body_bytes_max",
                format!("`memory.body_bytes_max` is more than `memory.{name}`: such a body could never be stored"),
                Some(format!("lower `body_bytes_max`, or raise `{name}`")),
            );
        }
    }
    table.finish();
    config
}

fn coalescing(mut table: Table<'_>) -> CoalescingConfig {
    let config = CoalescingConfig {
        wait_timeout: table.option("wait_timeout", seconds(10), waits(), "A request waits no longer for another one's fetch, then asks the origin itself."),
        not_shareable_ttl: table.option(
            "not_shareable_ttl",
            seconds(10),
            Durations { min: Duration::ZERO, max: DAY },
            "For so long after a response that could not be shared, requests of its key do not queue behind each other.",
        ),
        not_shareable_max: count(table.option(
            "not_shareable_max",
            10_000,
            Whole { min: 1, max: 10_000_000 },
            "How many such keys are remembered; past it the oldest is forgotten.",
        )),
    };
    table.finish();
    config
}

fn coherence(mut table: Table<'_>) -> CoherenceConfig {
    let config = CoherenceConfig {
        mode: table.option(
            "mode",
            CoherenceMode::Eventual,
            Choice(&[("eventual", CoherenceMode::Eventual), ("strict", CoherenceMode::Strict)]),
            "\"eventual\": after a write, other instances follow within milliseconds; \"strict\": before it is answered, and without Redis nothing stored is reused and no write is let through.",
        ),
        lease: table.option(
            "lease",
            seconds(2),
            Durations { min: Duration::from_millis(100), max: seconds(60) },
            "In strict mode: an instance that has not heard from the log for so long reuses nothing, and a write waits no longer for one that does not acknowledge it.",
        ),
        unsynced_age_max: table.option(
            "unsynced_age_max",
            seconds(10),
            Durations { min: Duration::ZERO, max: DAY },
            "While the invalidation log is unreachable, a stored response older than this is not reused without asking the origin.",
        ),
        append_timeout: table.option("append_timeout", Duration::from_millis(250), short_waits(), "The answer to a write waits no longer for its invalidations to reach the log. In eventual mode, while it cannot be reached, only the first write waits."),
        bans_max: count(table.option(
            "bans_max",
            10_000,
            Whole { min: 2, max: 1_000_000 },
            "Invalidations held; past it the oldest become one on all that is below the path they share, or else one on everything stored before them.",
        )),
        spool: table.option(
            "spool",
            SpoolPlace::StateDirectory,
            spool(),
            "The file in which invalidations that wait for Redis survive the end of the process; `\"\"`: in $STATE_DIRECTORY, $XDG_STATE_HOME/pannier or ~/.local/state/pannier; `\"off\"`: none, they are lost with it.",
        ),
        session: table.option(
            "session",
            SessionMode::Off,
            Choice(&[("off", SessionMode::Off), ("cookie", SessionMode::Cookie), ("header", SessionMode::Header)]),
            "Read-your-writes: the answer to a write carries a position, as the cookie `pannier-position` or the field `Pannier-Position`; a request that brings it is answered, by any instance, only from what is at least that new.",
        ),
    };
    table.finish();
    config
}

fn spool() -> Parsed<SpoolPlace> {
    Parsed {
        expects: "the path of a file, or `\"off\"`",
        parse: |text| match text {
            "" => Ok(SpoolPlace::StateDirectory),
            "off" => Ok(SpoolPlace::Off),
            text if text.contains('\0') => Err(Wrong::new("this is no path")),
            path => Ok(SpoolPlace::At(path.into())),
        },
        write: |place| match place {
            SpoolPlace::StateDirectory => String::new(),
            SpoolPlace::Off => "off".to_owned(),
            SpoolPlace::At(path) => path.display().to_string(),
        },
    }
}

/// A bound on a number of entries; 0 is none.
pub(super) fn bound(entries: u64) -> Option<u64> {
    (entries > 0).then_some(entries)
}

/// What a number of entries may be.
pub(super) const ENTRIES: Whole = Whole {
    min: 0,
    max: 1_000_000_000,
};

/// What a number of things at once may be.
const PLACES: Whole = Whole {
    min: 1,
    max: 1_000_000,
};

/// Something is waited for: zero would never let it happen.
pub(super) fn waits() -> Durations {
    Durations {
        min: Duration::from_millis(1),
        max: DAY,
    }
}

/// A client waits meanwhile.
pub(super) fn short_waits() -> Durations {
    Durations {
        min: Duration::from_millis(1),
        max: seconds(60),
    }
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
