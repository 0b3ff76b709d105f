//! `pannier purge`: asks a running Pannier to make stored responses invalid.

use std::io::Write;

use clap::{ArgGroup, Args};
use http::Method;
use serde_json::Value;

use super::client::{AdminArgs, AdminError, AdminTarget, query};

/// What `pannier purge` takes.
#[derive(Args, Clone, Debug)]
#[command(group(
    ArgGroup::new("scope").required(true).multiple(true).args(["patterns", "tag", "route", "url", "all"])
))]
pub struct PurgeArgs {
    /// Paths: * within a segment, ** across segments
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// What carries this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// The responses of this route; may be given several times
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<String>,
    /// One URL, with its query; may be given several times
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["patterns", "tag", "route", "url"])]
    pub all: bool,
    /// Marks stored responses stale instead of dropping them
    #[arg(long)]
    pub soft: bool,
    /// Only says what would be matched; nothing becomes invalid
    #[arg(long)]
    pub dry_run: bool,
    /// Prints the answers as JSON, one a line
    #[arg(long)]
    pub json: bool,
    /// Waits so long for every instance to acknowledge: 250ms, 1s
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,
    /// Where to ask
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl PurgeArgs {
    /// One query for each thing named.
    fn queries(&self) -> Vec<String> {
        let kinds = [
            ("pattern", &self.patterns),
            ("tag", &self.tag),
            ("route", &self.route),
            ("url", &self.url),
        ];
        let named = kinds
            .into_iter()
            .flat_map(|(kind, values)| values.iter().map(move |value| (kind, value.as_str())));
        let everything = self.all.then(Vec::new);
        everything
            .into_iter()
            .chain(named.map(|pair| vec![pair]))
            .map(|mut pairs| {
                if self.soft {
                    pairs.push(("soft", "true"));
                }
                if self.dry_run {
                    pairs.push(("dry_run", "true"));
                }
                if let Some(wait) = &self.wait {
                    pairs.push(("wait", wait));
                }
                query(&pairs)
            })
            .collect()
    }
}

/// Asks for one invalidation after the other, and prints what came of each.
///
/// # Errors
/// At the first that is refused, and, where a wait was asked for, if an
/// instance has not acknowledged one by its end.
pub async fn purge(
    args: &PurgeArgs,
    target: &AdminTarget,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    let mut unacknowledged = Vec::new();
    for query in args.queries() {
        let answer = target
            .ask(Method::POST, &format!("/cache/invalidate{query}"))
            .await?;
        if args.json {
            writeln!(out, "{answer}")?;
        } else {
            writeln!(out, "{}", told(&answer))?;
        }
        unacknowledged.extend(names(&answer["missing"]).map(str::to_owned));
    }
    unacknowledged.sort();
    unacknowledged.dedup();
    if args.wait.is_some() && !unacknowledged.is_empty() {
        return Err(AdminError::Unacknowledged(unacknowledged.join(", ")));
    }
    Ok(())
}

/// `invalidated pattern /a/**: 3 in this instance's memory, log position 17-0,
/// acknowledged by left`
fn told(answer: &Value) -> String {
    let is = |key: &str| answer[key] == Value::Bool(true);
    let verb = match (is("dry_run"), is("soft")) {
        (true, false) => "would invalidate",
        (true, true) => "would mark stale",
        (false, false) => "invalidated",
        (false, true) => "marked stale",
    };
    let what = answer["invalidated"].as_str().unwrap_or_default();
    let matched = match answer["matched"].as_u64() {
        Some(matched) => format!("{matched} in this instance's memory"),
        None => "not counted".to_owned(),
    };
    let mut parts = vec![format!("{verb} {what}: {matched}")];
    if let Some(position) = answer["position"].as_str() {
        parts.push(format!("log position {position}"));
    }
    for (relation, key) in [
        ("acknowledged by", "acknowledged"),
        ("not yet by", "missing"),
    ] {
        let names: Vec<&str> = names(&answer[key]).collect();
        if !names.is_empty() {
            parts.push(format!("{relation} {}", names.join(" ")));
        }
    }
    let mut line = parts.join(", ");
    if let Some(note) = answer["note"].as_str() {
        line.push_str("\n  note: ");
        line.push_str(note);
    }
    line
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        purge: PurgeArgs,
    }

    fn parse(arguments: &[&str]) -> Result<PurgeArgs, clap::Error> {
        let arguments = ["purge"].iter().chain(arguments);
        Program::try_parse_from(arguments).map(|program| program.purge)
    }

    #[test]
    fn each_thing_named_is_asked_for_once() {
        let args = parse(&["/a/**", "/b", "--tag", "t", "--soft", "--wait", "1s"]).unwrap();
        assert_eq!(
            args.queries(),
            [
                "?pattern=/a/%2A%2A&soft=true&wait=1s",
                "?pattern=/b&soft=true&wait=1s",
                "?tag=t&soft=true&wait=1s",
            ]
        );
        assert_eq!(parse(&["--all"]).unwrap().queries(), [""]);
    }

    #[test]
    fn everything_is_purged_only_when_it_is_said() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--soft"]).is_err());
        assert!(parse(&["--all", "/a"]).is_err());
    }

    #[test]
    fn what_came_of_it_is_told_in_a_line() {
        let answer = serde_json::json!({
            "invalidated": "pattern /a/**", "soft": false, "dry_run": false, "matched": 3,
            "note": null, "position": "17-0",
            "acknowledged": ["left", "middle"], "missing": ["right"],
        });
        assert_eq!(
            told(&answer),
            "invalidated pattern /a/**: 3 in this instance's memory, log position 17-0, \
             acknowledged by left middle, not yet by right"
        );
        let alone = serde_json::json!({
            "invalidated": "all", "soft": true, "dry_run": true, "matched": 0,
            "note": "no response in this instance's memory matched", "position": null,
            "acknowledged": [], "missing": [],
        });
        assert_eq!(
            told(&alone),
            "would mark stale all: 0 in this instance's memory\n  \
             note: no response in this instance's memory matched"
        );
    }
}
