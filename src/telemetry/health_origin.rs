//! What health says of the origin: whether it answers, how often it fails, and
//! what stored responses hide of that.

use super::health::{Indicator, REQUESTS_MIN, Scale, Situation, float, percent};
use super::origin_check::Checked;
use super::rfc3339;
use crate::config::HealthConfig;

/// Routes named in one sentence.
const STALE_SHOWN_MAX: usize = 5;

pub(super) fn reachable(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let failures = situation.failures_in_a_row;
    let found = match failures {
        0 => "the origin answers".to_owned(),
        1 => "the origin did not answer when it was last asked".to_owned(),
        n => format!("the origin did not answer the last {n} times"),
    };
    let scale = Scale {
        name: "upstream_reachable",
        unit: "failures in a row",
        warning: 1.0,
        critical: Some(float(thresholds.upstream_failures_critical)),
    };
    scale.judge(
        float(failures),
        found,
        "see whether the application behind runs and `upstream` names it",
    )
}

pub(super) fn errors(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "upstream_error_rate",
        unit: "%",
        warning: float(thresholds.upstream_error_rate_warning_percent),
        critical: Some(float(thresholds.upstream_error_rate_critical_percent)),
    };
    let asked = situation.upstream;
    if asked < REQUESTS_MIN {
        return scale.not_judged("the origin was seldom asked in the last five minutes");
    }
    let rate = percent(situation.upstream_errors, asked);
    let found = format!(
        "{rate:.1} % of exchanges with the origin failed or were answered with 5xx in five minutes"
    );
    scale.judge(
        rate,
        found,
        "`/performance/upstream` counts them by kind; time-outs: `origin.response_timeout`",
    )
}

pub(super) fn stale(situation: &Situation) -> Indicator {
    let scale = Scale {
        name: "stale_if_error",
        unit: "routes",
        warning: 1.0,
        critical: None,
    };
    let routes = situation.stale.iter().map(|stale| {
        let (route, answers) = (&stale.route, stale.answers);
        let since = rfc3339::text(stale.since);
        format!("route `{route}` lives on stale responses since {since} ({answers} answers)")
    });
    let routes: Vec<String> = routes.take(STALE_SHOWN_MAX).collect();
    let found = match routes.is_empty() {
        true => "no failure of the origin is hidden by stale responses".to_owned(),
        false => routes.join(", "),
    };
    scale.judge(
        float(situation.stale.len() as u64),
        found,
        "the origin fails for it; see the log, and `stale_if_error` for how long that holds",
    )
}

pub(super) fn checked(check: &Checked, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "upstream_check",
        unit: "failures in a row",
        warning: 1.0,
        critical: Some(float(thresholds.upstream_failures_critical)),
    };
    let path = &check.path;
    let found = match &check.failure {
        None => format!("the check of {path} passes"),
        Some(failure) => {
            let since = rfc3339::text(check.since);
            format!("the check of {path} fails since {since} ({failure})")
        }
    };
    scale.judge(
        float(check.failures),
        found,
        "see whether the application behind runs and `origin.check` names a path that it answers",
    )
}
