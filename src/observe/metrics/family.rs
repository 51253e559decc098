//! Families of metrics in the making, in the types of Prometheus's encoder.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::upstream::{BOUNDS, Distribution};

/// Names and values.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// One family: metrics with one name, told apart by their labels.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    /// Numbers that only grow.
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::COUNTER, metrics: Vec::new() }
    }

    /// Numbers that come and go.
    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::GAUGE, metrics: Vec::new() }
    }

    /// Times, in seconds.
    pub(super) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::HISTOGRAM, metrics: Vec::new() }
    }

    /// The whole of a family with one number and no labels.
    pub(super) fn alone(mut self, value: impl Number) -> Self {
        self.add(&[], value);
        self
    }

    /// Adds a number.
    pub(super) fn add(&mut self, labels: Labels<'_>, value: impl Number) {
        let mut metric = Metric::from_label(pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value.number());
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value.number());
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds times.
    pub(super) fn times(&mut self, labels: Labels<'_>, times: &Distribution) {
        let mut metric = Metric::from_label(pairs(labels));
        let mut sum = 0;
        let buckets = BOUNDS.iter().zip(times.counts).map(|(micros, count)| {
            sum += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(micros.number() / 1e6);
            bucket.set_cumulative_count(sum);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(times.counts.iter().sum());
        histogram.set_sample_sum(times.sum.as_secs_f64());
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// In the encoder's own type; none where nothing is in it, which the encoder refuses.
    pub(super) fn finish(self) -> Option<MetricFamily> {
        let Self { name, help, kind, metrics } = self;
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        (!family.get_metric().is_empty()).then_some(family)
    }
}

fn pairs(labels: Labels<'_>) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

/// What a metric may be. Prometheus knows one kind of number, exact up to 2^53.
pub(super) trait Number {
    fn number(&self) -> f64;
}

impl Number for u64 {
    fn number(&self) -> f64 {
        *self as f64
    }
}

impl Number for f64 {
    fn number(&self) -> f64 {
        *self
    }
}

impl Number for u32 {
    fn number(&self) -> f64 {
        f64::from(*self)
    }
}

impl Number for bool {
    fn number(&self) -> f64 {
        f64::from(u8::from(*self))
    }
}
