//! Every path of the admin listener, once: what answers it and what it says in
//! `/openapi.json`.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::control::Control;
use super::fleet::{self, FleetDocument, FleetHealthDocument};
use super::shapes::{
    CacheDocument, CachePerformanceDocument, ClearedDocument, EndpointDocument,
    InvalidatedDocument, QueuesDocument, ResetDocument, StatsDocument, SystemDocument,
    UpstreamDocument,
};
use super::watch_shapes::{HealthDocument, HistoryDocument, SummaryDocument, TopKeysDocument};
use super::{auth, cache, dashboard, openapi, performance, probes, tail, watch};

/// One path.
pub(super) struct AdminRoute {
    /// As axum writes it: `{*rest}` takes the rest of the path.
    pub(super) path: &'static str,
    pub(super) verb: Verb,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) answer: Answer,
    pub(super) handler: MethodRouter<Arc<Control>>,
}

impl AdminRoute {
    /// Whether it is answered without a token.
    pub(super) fn is_open(&self) -> bool {
        auth::OPEN.contains(&self.path)
    }

    /// Whether every parameter of a query is unknown to it. Probes, scrapers and
    /// browsers may add what they like to what they read as text.
    pub(super) fn takes_no_query(&self) -> bool {
        let is_text = matches!(self.answer, Answer::Text(_));
        !is_text && self.parameters.iter().all(|parameter| parameter.is_in_path)
    }
}

/// Reading or commanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

/// A part of the path or the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) is_in_path: bool,
    pub(super) about: &'static str,
    /// What it may be; empty: any text.
    pub(super) choices: &'static [&'static str],
}

/// What a path answers with.
pub(super) enum Answer {
    Text(&'static str),
    /// Any JSON object.
    Object,
    Document(Shape),
    List(Shape),
}

/// The type of a document: its name, its schema, and those it is made of.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) schema: RefOr<Schema>,
    pub(super) parts: Vec<(String, RefOr<Schema>)>,
}

fn shape<T: ToSchema>() -> Shape {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    Shape {
        name: T::name().into_owned(),
        schema: T::schema(),
        parts,
    }
}

const fn query(name: &'static str, about: &'static str) -> Parameter {
    Parameter {
        name,
        is_in_path: false,
        about,
        choices: &[],
    }
}

const fn in_path(name: &'static str, about: &'static str) -> Parameter {
    Parameter {
        name,
        is_in_path: true,
        about,
        choices: &[],
    }
}

const SOFT: Parameter = Parameter {
    name: "soft",
    is_in_path: false,
    about: "true: marks stored responses stale instead of dropping them.",
    choices: &["true", "false"],
};
const DRY_RUN: Parameter = Parameter {
    name: "dry_run",
    is_in_path: false,
    about: "true: only says what would be matched.",
    choices: &["true", "false"],
};
const WAIT: Parameter = query(
    "wait",
    "How long to wait for the fleet to acknowledge: 250ms, 1s; at most 60s.",
);
const WINDOW: Parameter = query("window", "How far back: 1m to 24h; 24h where left out.");
const LIMIT: Parameter = query("limit", "How many: 1 to 1000; 10 where left out.");

/// All paths, in the order people look for them.
pub(super) fn routes() -> Vec<AdminRoute> {
    let mut routes = probe_routes();
    routes.extend(cache_routes());
    routes.extend(performance_routes());
    routes.extend(fleet_routes());
    routes
}

fn probe_routes() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            path: "/livez",
            verb: Verb::Get,
            summary: "Whether the process lives. Needs no token.",
            parameters: &[],
            answer: Answer::Text("text/plain"),
            handler: get(probes::livez),
        },
        AdminRoute {
            path: "/readyz",
            verb: Verb::Get,
            summary: "200 while it listens and does not drain, else 503. Needs no token.",
            parameters: &[],
            answer: Answer::Text("text/plain"),
            handler: get(probes::readyz),
        },
        AdminRoute {
            path: "/metrics",
            verb: Verb::Get,
            summary: "Every figure in Prometheus' text format.",
            parameters: &[],
            answer: Answer::Text("text/plain"),
            handler: get(probes::metrics),
        },
        AdminRoute {
            path: "/openapi.json",
            verb: Verb::Get,
            summary: "This description.",
            parameters: &[],
            answer: Answer::Object,
            handler: get(openapi::answer),
        },
        AdminRoute {
            path: "/stats",
            verb: Verb::Get,
            summary: "Caches, performance, queues, health and warming in one document.",
            parameters: &[],
            answer: Answer::Document(shape::<StatsDocument>()),
            handler: get(performance::stats),
        },
        AdminRoute {
            path: "/",
            verb: Verb::Get,
            summary: "The dashboard. Without the token 401, and the page that asks for it.",
            parameters: &[],
            answer: Answer::Text("text/html"),
            handler: get(dashboard::page),
        },
        AdminRoute {
            path: "/health",
            verb: Verb::Get,
            summary: "How it does: a word, a score, and what they are made of.",
            parameters: &[],
            answer: Answer::Document(shape::<HealthDocument>()),
            handler: get(watch::health),
        },
        AdminRoute {
            path: "/history",
            verb: Verb::Get,
            summary: "What happened, minute by minute, for a day at most.",
            parameters: &[WINDOW],
            answer: Answer::Document(shape::<HistoryDocument>()),
            handler: get(watch::history),
        },
        AdminRoute {
            path: "/tail",
            verb: Verb::Get,
            summary: "Requests as they are answered, one JSON object a line, until the client leaves.",
            parameters: const {
                &[
                    query("route", "Of this route alone."),
                    Parameter {
                        name: "cache",
                        is_in_path: false,
                        about: "Answered so by the cache.",
                        choices: &["hit", "stale", "revalidated", "miss", "bypass"],
                    },
                    query("status", "With this status: 404, or 5xx."),
                ]
            },
            answer: Answer::Text("application/x-ndjson"),
            handler: get(tail::tail),
        },
        AdminRoute {
            path: "/queues",
            verb: Verb::Get,
            summary: "What is in flight or waits, and how much may.",
            parameters: &[],
            answer: Answer::Document(shape::<QueuesDocument>()),
            handler: get(cache::queues),
        },
    ]
}

fn cache_routes() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            path: "/cache/stats",
            verb: Verb::Get,
            summary: "What the caches hold and did since the last reset.",
            parameters: &[],
            answer: Answer::Document(shape::<CacheDocument>()),
            handler: get(cache::stats),
        },
        AdminRoute {
            path: "/cache/top-keys",
            verb: Verb::Get,
            summary: "The keys that the store answers most, by hits and by bytes, and those it misses most.",
            parameters: &[LIMIT],
            answer: Answer::Document(shape::<TopKeysDocument>()),
            handler: get(watch::top_keys),
        },
        AdminRoute {
            path: "/cache/invalidate",
            verb: Verb::Post,
            summary: "Makes stored responses invalid: all, or what one of pattern, route, tag and url names.",
            parameters: const {
                &[
                    query("pattern", "Paths: * within a segment, ** across segments."),
                    query("route", "A route by its name."),
                    query("tag", "What carries this tag."),
                    query(
                        "url",
                        "One URL, absolute or from its path on, with its query.",
                    ),
                    SOFT,
                    WAIT,
                    DRY_RUN,
                ]
            },
            answer: Answer::Document(shape::<InvalidatedDocument>()),
            handler: post(cache::invalidate),
        },
        AdminRoute {
            path: "/cache/invalidate/{*route}",
            verb: Verb::Post,
            summary: "Makes the stored responses of a route invalid.",
            parameters: const {
                &[
                    in_path(
                        "route",
                        "The route's name, with or without its first slash.",
                    ),
                    SOFT,
                    WAIT,
                    DRY_RUN,
                ]
            },
            answer: Answer::Document(shape::<InvalidatedDocument>()),
            handler: post(cache::invalidate_route),
        },
        AdminRoute {
            path: "/cache/clear",
            verb: Verb::Post,
            summary: "Drops everything a tier holds.",
            parameters: &[Parameter {
                name: "tier",
                is_in_path: false,
                about: "Which one; must be given.",
                choices: &["memory", "redis", "all"],
            }],
            answer: Answer::Document(shape::<ClearedDocument>()),
            handler: post(cache::clear),
        },
        AdminRoute {
            path: "/cache/reset-stats",
            verb: Verb::Post,
            summary: "Sets the figures of /cache/stats to zero; Prometheus' go on.",
            parameters: &[],
            answer: Answer::Document(shape::<ResetDocument>()),
            handler: post(cache::reset_stats),
        },
    ]
}

fn fleet_routes() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            path: "/fleet",
            verb: Verb::Get,
            summary: "The instances of this namespace, heard of in the last 8 seconds, and those missing since.",
            parameters: &[],
            answer: Answer::Document(shape::<FleetDocument>()),
            handler: get(fleet::fleet),
        },
        AdminRoute {
            path: "/fleet/health",
            verb: Verb::Get,
            summary: "200 while every instance is in touch with the invalidation log, else 503.",
            parameters: &[],
            answer: Answer::Document(shape::<FleetHealthDocument>()),
            handler: get(fleet::health),
        },
    ]
}

fn performance_routes() -> Vec<AdminRoute> {
    vec![
        AdminRoute {
            path: "/performance",
            verb: Verb::Get,
            summary: "Every endpoint since the last reset, by path and method.",
            parameters: &[],
            answer: Answer::List(shape::<EndpointDocument>()),
            handler: get(performance::endpoints),
        },
        AdminRoute {
            path: "/performance/endpoint/{method}/{*endpoint}",
            verb: Verb::Get,
            summary: "One endpoint: /performance/endpoint/GET/users/{id}.",
            parameters: const {
                &[
                    in_path("method", "Its method, in any case."),
                    in_path(
                        "endpoint",
                        "Its template, or a path of it; a second slash for the path /.",
                    ),
                ]
            },
            answer: Answer::Document(shape::<EndpointDocument>()),
            handler: get(performance::endpoint),
        },
        AdminRoute {
            path: "/performance/slowest",
            verb: Verb::Get,
            summary: "Endpoints by average time, the slowest first.",
            parameters: &[LIMIT],
            answer: Answer::List(shape::<EndpointDocument>()),
            handler: get(performance::slowest),
        },
        AdminRoute {
            path: "/performance/most-requested",
            verb: Verb::Get,
            summary: "Endpoints by requests, the most first.",
            parameters: &[LIMIT],
            answer: Answer::List(shape::<EndpointDocument>()),
            handler: get(performance::most_requested),
        },
        AdminRoute {
            path: "/performance/system",
            verb: Verb::Get,
            summary: "Memory, processor, open files, request rate, success rate, uptime.",
            parameters: &[],
            answer: Answer::Document(shape::<SystemDocument>()),
            handler: get(performance::system),
        },
        AdminRoute {
            path: "/performance/cache",
            verb: Verb::Get,
            summary: "Hit rates, and what could raise them.",
            parameters: &[],
            answer: Answer::Document(shape::<CachePerformanceDocument>()),
            handler: get(performance::cache_rates),
        },
        AdminRoute {
            path: "/performance/summary",
            verb: Verb::Get,
            summary: "A window's totals and its hours.",
            parameters: &[WINDOW],
            answer: Answer::Document(shape::<SummaryDocument>()),
            handler: get(watch::summary),
        },
        AdminRoute {
            path: "/performance/upstream",
            verb: Verb::Get,
            summary: "Connections to the origin, errors on the way, and its latency.",
            parameters: &[],
            answer: Answer::Document(shape::<UpstreamDocument>()),
            handler: get(performance::upstream),
        },
        AdminRoute {
            path: "/performance/reset",
            verb: Verb::Post,
            summary: "Sets the figures of /performance to zero; Prometheus' go on.",
            parameters: &[],
            answer: Answer::Document(shape::<ResetDocument>()),
            handler: post(performance::reset),
        },
    ]
}
