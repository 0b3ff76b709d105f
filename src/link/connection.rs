//! One connection to Redis: a single node's, or a cluster's.

use futures_util::future::join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
};

/// How many nodes of a cluster are asked before it counts as gone: one dead
/// node must not take the connection to the others down.
const CLUSTER_PINGS: usize = 3;

/// One connection. Cloning is cheap; clones share the connection, and what
/// they send does not wait for each other's answers.
#[derive(Clone)]
pub struct Connection {
    /// Tells connections of one link apart.
    pub(super) id: u64,
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What an error says about the connection it came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can go on.
    Usable,
    /// It may be dead: ask.
    Suspect,
    /// It leads to a place that is of no more use.
    Condemned,
}

impl Connection {
    pub(super) fn single(connection: MultiplexedConnection) -> Self {
        Self {
            id: 0,
            inner: Inner::Single(connection),
        }
    }

    pub(super) fn cluster(connection: ClusterConnection) -> Self {
        Self {
            id: 0,
            inner: Inner::Cluster(connection),
        }
    }

    /// Asks whether anybody is there.
    ///
    /// # Errors
    ///
    /// Where nobody is, or only somebody who does not serve (loading, demoted).
    pub async fn ping(&mut self) -> RedisResult<()> {
        let mut outcome = self.ping_once().await;
        if let Inner::Cluster(_) = self.inner {
            for _ in 1..CLUSTER_PINGS {
                if outcome.is_ok() {
                    break;
                }
                outcome = self.ping_once().await;
            }
        }
        match outcome {
            // Whoever may not PING was still answered.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(()),
            other => other,
        }
    }

    async fn ping_once(&mut self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        match &mut self.inner {
            Inner::Single(connection) => ping.query_async::<Value>(connection).await.map(drop),
            Inner::Cluster(connection) => connection
                .route_command(ping, RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random))
                .await
                .map(drop),
        }
    }

    /// Sends groups of commands in one round trip and answers, for each group,
    /// what became of its first command. The keys of one group share a slot;
    /// in a cluster each group is a pipeline of its own.
    pub async fn send_groups(&mut self, groups: Vec<Vec<Cmd>>) -> Vec<RedisResult<()>> {
        match &mut self.inner {
            Inner::Single(connection) => {
                let starts = group_starts(&groups);
                let pipeline = pipeline_of(groups.into_iter().flatten());
                match run(&pipeline, connection).await {
                    Ok(outcomes) => pick(outcomes, &starts),
                    Err(error) => starts.iter().map(|_| Err(error.clone())).collect(),
                }
            }
            Inner::Cluster(connection) => {
                join_all(groups.into_iter().map(|group| {
                    let mut connection = connection.clone();
                    async move {
                        let outcomes = run(&pipeline_of(group), &mut connection).await?;
                        outcomes.into_iter().next().unwrap_or(Ok(()))
                    }
                }))
                .await
            }
        }
    }

    /// The nodes that hold keys: none for a single node, which is addressed
    /// by not addressing it.
    ///
    /// # Errors
    ///
    /// Those of Redis.
    pub async fn primaries(&mut self) -> RedisResult<Vec<Node>> {
        let Inner::Cluster(connection) = &mut self.inner else {
            return Ok(vec![Node(None)]);
        };
        let slots: Vec<Vec<Value>> = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(connection)
            .await?;
        let mut nodes = Vec::new();
        for range in slots {
            let Some(primary) = range.into_iter().nth(2) else {
                continue;
            };
            let primary: Vec<Value> = redis::from_redis_value(primary)?;
            let mut parts = primary.into_iter();
            if let (Some(host), Some(port)) = (parts.next(), parts.next()) {
                let node = Node(Some((
                    redis::from_redis_value(host)?,
                    redis::from_redis_value(port)?,
                )));
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        }
        Ok(nodes)
    }

    /// Sends a command to one of [`Self::primaries`].
    ///
    /// # Errors
    ///
    /// Those of Redis.
    pub async fn send_to(&mut self, node: &Node, command: Cmd) -> RedisResult<Value> {
        match (&mut self.inner, node) {
            (Inner::Cluster(connection), Node(Some((host, port)))) => {
                let routing = SingleNodeRoutingInfo::ByAddress {
                    host: host.clone(),
                    port: *port,
                };
                connection
                    .route_command(command, RoutingInfo::SingleNode(routing))
                    .await
            }
            _ => command.query_async(self).await,
        }
    }
}

/// A node of a cluster; or the only one there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node(Option<(String, u16)>);

/// What `error` says about the connection it came over.
#[must_use]
pub fn judge(error: &RedisError) -> Verdict {
    match error.kind() {
        // A primary became a replica, or lost its own, or is not up yet.
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::BusyLoading,
        ) => Verdict::Condemned,
        // From inside a script, Redis 6 reports the same as an error of its own.
        ErrorKind::Server(_) if is_of_a_node_that_does_not_serve(error) => Verdict::Condemned,
        // A password was set or changed.
        _ if error.code() == Some("NOAUTH") => Verdict::Condemned,
        ErrorKind::Server(_) | ErrorKind::Extension => Verdict::Usable,
        _ => Verdict::Suspect,
    }
}

fn is_of_a_node_that_does_not_serve(error: &RedisError) -> bool {
    let text = error.detail().unwrap_or_default();
    let codes = ["-READONLY ", "-MASTERDOWN ", "-LOADING ", "-NOREPLICAS "];
    codes.iter().any(|code| text.contains(code))
}

fn pipeline_of(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.ignore_errors();
    pipeline
}

async fn run(
    pipeline: &Pipeline,
    connection: &mut impl ConnectionLike,
) -> RedisResult<Vec<RedisResult<()>>> {
    let outcomes: Vec<RedisResult<Value>> = pipeline.query_async(connection).await?;
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.map(drop))
        .collect())
}

fn group_starts(groups: &[Vec<Cmd>]) -> Vec<usize> {
    let mut next = 0;
    groups
        .iter()
        .map(|group| {
            let start = next;
            next += group.len();
            start
        })
        .collect()
}

fn pick(outcomes: Vec<RedisResult<()>>, starts: &[usize]) -> Vec<RedisResult<()>> {
    starts
        .iter()
        .map(|start| outcomes.get(*start).cloned().unwrap_or(Ok(())))
        .collect()
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.inner {
            Inner::Single(connection) => connection.req_packed_command(cmd),
            Inner::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.inner {
            Inner::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Inner::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.inner {
            Inner::Single(connection) => connection.get_db(),
            Inner::Cluster(connection) => connection.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_on(answer: &str) -> Verdict {
        let value = redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
        let error = value.extract_error().unwrap_err();
        judge(&error)
    }

    #[test]
    fn a_node_that_does_not_serve_is_left_in_whatever_words_it_says_so() {
        for answer in [
            "READONLY You can't write against a read only replica.",
            "READONLY You can't write against a read only replica. script: 5f, on @user_script:9.",
            "ERR Error running script (call to f_5f): @user_script:9: @user_script: 9: \
             -READONLY You can't write against a read only replica.",
            "ERR Error running script (call to f_5f): @user_script:9: @user_script: 9: \
             -MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "LOADING Redis is loading the dataset in memory",
        ] {
            assert_eq!(verdict_on(answer), Verdict::Condemned, "{answer}");
        }
    }

    #[test]
    fn an_error_of_the_command_itself_leaves_the_connection_alone() {
        for answer in [
            "ERR unknown command",
            "WRONGTYPE Operation against a key",
            "OOM command not allowed when used memory > 'maxmemory'.",
        ] {
            assert_eq!(verdict_on(answer), Verdict::Usable, "{answer}");
        }
    }
}
