//! Health for Prometheus: the score, and the level of each indicator.

use std::sync::Arc;

use ::prometheus::core::{Collector, Desc};
use ::prometheus::proto::MetricFamily;

use super::operations::Operations;
use super::watch;
use crate::telemetry::Telemetry;
use crate::telemetry::page::{Family, gauge, value};

const SCORE: Family = gauge(
    "pannier_health_score",
    "100 where all is well, less what is wrong.",
    &[],
);
const LEVEL: Family = gauge(
    "pannier_health_level",
    "0 healthy, 1 warning, 2 critical: the worst of the indicators.",
    &[],
);
const INDICATOR: Family = gauge(
    "pannier_health_indicator_level",
    "0 healthy, 1 warning, 2 critical, for each indicator.",
    &["indicator"],
);

/// docs/metrics.md lists the same.
const FAMILIES: [&Family; 3] = [&SCORE, &LEVEL, &INDICATOR];

/// Judges at every scrape.
pub struct HealthPage {
    operations: Arc<dyn Operations>,
    telemetry: Arc<Telemetry>,
    descriptions: Vec<Desc>,
}

impl HealthPage {
    /// Of this proxy.
    ///
    /// # Errors
    /// Where the names contradict each other; a test holds that they do not.
    pub fn new(
        operations: Arc<dyn Operations>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, ::prometheus::Error> {
        let descriptions = FAMILIES.into_iter().map(Family::described);
        Ok(Self {
            operations,
            telemetry,
            descriptions: descriptions.collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for HealthPage {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let assessment = watch::assessment(&self.telemetry, &*self.operations);
        let indicators = assessment.indicators.iter();
        let indicators =
            indicators.map(|one| value(&INDICATOR, &[one.name], f64::from(one.level as u8)));
        let level = f64::from(assessment.level as u8);
        vec![
            SCORE.of(vec![value(&SCORE, &[], assessment.score as f64)]),
            LEVEL.of(vec![value(&LEVEL, &[], level)]),
            INDICATOR.of(indicators.collect()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_documented() {
        let documented = include_str!("../../docs/metrics.md");
        for Family { name, .. } in FAMILIES {
            assert!(documented.contains(&format!("- `{name}")), "{name}");
        }
    }
}
