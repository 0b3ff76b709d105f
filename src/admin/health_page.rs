//! Health for Prometheus: the score, and the level of each indicator.

use std::collections::HashMap;
use std::sync::Arc;

use ::prometheus::core::{Collector, Desc};
use ::prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::operations::Operations;
use super::watch;
use crate::telemetry::Telemetry;

/// Names, what they say, and their label; docs/metrics.md lists the same.
const FAMILIES: [(&str, &str, Option<&str>); 3] = [
    (
        "pannier_health_score",
        "100 where all is well, less what is wrong.",
        None,
    ),
    (
        "pannier_health_level",
        "0 healthy, 1 warning, 2 critical: the worst of the indicators.",
        None,
    ),
    (
        "pannier_health_indicator_level",
        "0 healthy, 1 warning, 2 critical, for each indicator.",
        Some("indicator"),
    ),
];

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
        let descriptions = FAMILIES.into_iter().map(|(name, help, label)| {
            let labels = label.into_iter().map(str::to_owned).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        });
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
        let indicators = indicators.map(|one| sample(one.level as u8, Some(one.name)));
        let samples = [
            vec![gauge(assessment.score as f64)],
            vec![sample(assessment.level as u8, None)],
            indicators.collect(),
        ];
        let named = FAMILIES.into_iter().zip(samples);
        named
            .map(|((name, help, _), metrics)| {
                let mut family = MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help(help.to_owned());
                family.set_field_type(MetricType::GAUGE);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

fn gauge(figure: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(figure);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    metric
}

fn sample(level: u8, indicator: Option<&str>) -> Metric {
    let mut metric = gauge(f64::from(level));
    if let Some(indicator) = indicator {
        let mut pair = LabelPair::default();
        pair.set_name("indicator".to_owned());
        pair.set_value(indicator.to_owned());
        metric.set_label(vec![pair]);
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_documented() {
        let documented = include_str!("../../docs/metrics.md");
        for (name, ..) in FAMILIES {
            assert!(documented.contains(&format!("- `{name}")), "{name}");
        }
    }
}
