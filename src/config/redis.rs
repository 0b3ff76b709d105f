//! The options of `[redis]`.

use std::time::Duration;

use super::given::{Given, Kind};
use super::kinds::{Flag, OneOrMore, Parsed, Secrets, Sizes, Whole, Wrong};
use super::options::{KIB, MIB, TIB, count, pem_file, seconds, short_waits};
use super::reader::Table;
use super::{RedisConfig, Secret, address};

/// Bytes of a namespace: it is part of every key in Redis.
const NAMESPACE_BYTES_MAX: usize = 128;

/// Reads the table; `None` where it has no usable URL or namespace, which was
/// reported.
pub(super) fn read(mut table: Table<'_>) -> Option<RedisConfig> {
    let url = table.required(
        "url",
        "\"redis://127.0.0.1:6379\"",
        RedisUrls(OneOrMore(address::redis_url())),
        "redis://, rediss:// (TLS) or redis+unix://; a list of nodes is a Redis Cluster.",
    );
    let namespace = table.required(
        "namespace",
        "\"shop\"",
        Parsed {
            expects: "letters, digits and `_ : . -`",
            parse: parse_namespace,
            write: String::clone,
        },
        "Every key starts with it; instances with the same namespace share one cache.",
    );
    let lookup_timeout = table.option(
        "lookup_timeout",
        Duration::from_millis(5),
        short_waits(),
        "Past it a lookup counts as a miss: no request waits longer for Redis. Large records may take 1ms more for each 16 KiB.",
    );
    let connect_timeout = table.option(
        "connect_timeout",
        seconds(1),
        short_waits(),
        "For one attempt to connect.",
    );
    let queue_max = count(table.option(
        "queue_max",
        1_024,
        Whole {
            min: 1,
            max: 1_000_000,
        },
        "Responses waiting to be written; past it they are dropped and counted.",
    ));
    let queue_bytes_max = table.option(
        "queue_bytes_max",
        64 * MIB,
        Sizes {
            min: 64 * KIB,
            max: TIB,
        },
        "The same in bytes.",
    );
    let ca_file = table.option(
        "ca_file",
        None,
        pem_file(),
        "Certificates to trust in place of the system's, for rediss:// URLs; \"\": the system's.",
    );
    let collapse = table.option(
        "collapse",
        false,
        Flag,
        "One instance fetches what none has stored; the others wait for its record, no longer than coalescing.wait_timeout.",
    );
    table.finish();
    let (nodes, is_cluster) = url?;
    Some(RedisConfig {
        nodes,
        is_cluster,
        namespace: namespace?,
        lookup_timeout,
        connect_timeout,
        queue_max,
        queue_bytes_max,
        ca_file,
        collapse,
    })
}

fn parse_namespace(text: &str) -> Result<String, Wrong> {
    let is_namespace = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte));
    if !is_namespace {
        return Err(Wrong::new(
            "a namespace is made of letters, digits and `_ : . -`, at least one",
        ));
    }
    if text.len() > NAMESPACE_BYTES_MAX {
        return Err(Wrong::new(format!(
            "a namespace has at most {NAMESPACE_BYTES_MAX} bytes"
        )));
    }
    Ok(text.to_owned())
}

/// One URL, or the nodes of a cluster, which have to agree.
struct RedisUrls(OneOrMore<Secrets>);

impl Kind for RedisUrls {
    type Value = (Vec<Secret>, bool);

    fn expects(&self) -> String {
        self.0.expects()
    }

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        let nodes = self.0.read(given)?;
        let is_cluster = given.value.is_array();
        if is_cluster {
            let looked_at: Vec<_> = nodes
                .iter()
                .filter_map(|node| address::redis_node(node.reveal()).ok())
                .collect();
            if looked_at.iter().any(|node| node.is_unix) {
                return given.problem(
                    "the nodes of a cluster cannot be Unix sockets",
                    Some("write one URL without a list".to_owned()),
                );
            }
            if looked_at.iter().any(|node| node.database != 0) {
                return given.problem(
                    "a Redis Cluster has no database but 0",
                    Some("write one URL without a list, or leave the number out".to_owned()),
                );
            }
            if looked_at
                .windows(2)
                .any(|pair| pair[0].is_tls != pair[1].is_tls)
            {
                return given.problem("some nodes are redis:// and some rediss://", None);
            }
        }
        Some((nodes, is_cluster))
    }

    fn write(&self, (nodes, _): &Self::Value) -> String {
        self.0.write(nodes)
    }
}
