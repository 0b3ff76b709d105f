//! The pieces that `/metrics` is made of: families, samples, histograms.

use std::collections::HashMap;

use ::prometheus::core::Desc;
use ::prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::histogram::HistogramSnapshot;

/// One family: its name, what it says, its kind and its labels.
pub struct Family {
    /// With the unit, and `_total` where it only grows.
    pub name: &'static str,
    /// A sentence.
    pub help: &'static str,
    /// What may be done with the figure.
    pub kind: MetricType,
    /// Names; every sample has a value for each.
    pub labels: &'static [&'static str],
}

impl Family {
    /// What a collector says of it beforehand.
    ///
    /// # Errors
    /// Where the format does not allow a name.
    pub fn described(&self) -> Result<Desc, ::prometheus::Error> {
        let labels = self.labels.iter().map(|label| (*label).to_owned());
        Desc::new(
            self.name.to_owned(),
            self.help.to_owned(),
            labels.collect(),
            HashMap::new(),
        )
    }

    /// The family with its samples.
    #[must_use]
    pub fn of(&self, samples: Vec<Metric>) -> MetricFamily {
        let mut made = MetricFamily::default();
        made.set_name(self.name.to_owned());
        made.set_help(self.help.to_owned());
        made.set_field_type(self.kind);
        made.set_metric(samples);
        made
    }
}

/// A family of figures that only grow.
pub const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
        labels,
    }
}

/// A family of figures that go up and down.
pub const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::GAUGE,
        labels,
    }
}

/// A family of distributions.
pub(super) const fn histogram(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::HISTOGRAM,
        labels,
    }
}

/// The families of one scrape.
#[derive(Default)]
pub(super) struct Page(pub(super) Vec<MetricFamily>);

impl Page {
    pub(super) fn family(&mut self, family: &Family, metrics: Vec<Metric>) {
        self.0.push(family.of(metrics));
    }

    pub(super) fn value(&mut self, family: &Family, figure: u64) {
        self.float(family, float(figure));
    }

    pub(super) fn float(&mut self, family: &Family, figure: f64) {
        self.family(family, vec![value(family, &[], figure)]);
    }
}

/// Prometheus counts in floating point: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "the format has no integers")]
pub(super) fn float(figure: u64) -> f64 {
    figure as f64
}

/// A sample of a counter or gauge, with a value for each label.
#[must_use]
pub fn value(family: &Family, labels: &[&str], figure: f64) -> Metric {
    let mut metric = labelled(family, labels);
    if family.kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(figure);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(figure);
        metric.set_gauge(gauge);
    }
    metric
}

/// A histogram; `None` while it is empty, so that a route costs series only
/// for what happens on it.
pub(super) fn distribution(
    family: &Family,
    labels: &[&str],
    snapshot: &HistogramSnapshot,
) -> Option<Metric> {
    if snapshot.count == 0 {
        return None;
    }
    let buckets = snapshot
        .cumulative
        .iter()
        .map(|(bound_seconds, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound_seconds);
            bucket.set_cumulative_count(*count);
            bucket
        })
        .collect();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(snapshot.count);
    histogram.set_sample_sum(snapshot.sum_seconds);
    let mut metric = labelled(family, labels);
    metric.set_histogram(histogram);
    Some(metric)
}

fn labelled(family: &Family, values: &[&str]) -> Metric {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let pairs = family
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    Metric::from_label(pairs)
}
