//! The text format of Prometheus (version 0.0.4). Written by hand: the crate of that name wants a
//! tree of owned objects for every number, and its registries hold what is counted, which here the
//! workers do.

use std::fmt::{Display, Write};

/// What a family of numbers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels of a number, in order.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text as it grows. A number belongs to the family begun last.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    family: String,
}

impl Text {
    /// Begins a family.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.family);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing into a string cannot fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A number of the family.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample_of("", labels, None, value);
    }

    /// A whole family of one number.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// A histogram of the family: counts between `bounds`, the last above all of them, and the sum.
    pub(crate) fn histogram(
        &mut self,
        labels: Labels<'_>,
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let mut total = 0;
        for (at, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample_of("_bucket", labels, Some(&bound), total);
        }
        self.sample_of("_sum", labels, None, sum);
        self.sample_of("_count", labels, None, total);
    }

    /// The text.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn sample_of(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&str>,
        value: impl Display,
    ) {
        let Text { out, family } = self;
        out.push_str(family);
        out.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut mark = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            out.push(mark);
            out.push_str(name);
            out.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    letter => out.push(letter),
                }
            }
            out.push('"');
            mark = ',';
        }
        if mark == ',' {
            out.push('}');
        }
        // Writing into a string cannot fail.
        let _ = writeln!(out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_the_format_has_them() {
        let mut text = Text::default();
        text.single("a_total", Kind::Counter, "Two\nlines.", 3);
        text.family("b_seconds", Kind::Histogram, "Took.");
        text.histogram(&[("route", "x\"\\\ny")], &[0.005, 1.0], &[1, 0, 2], 4.5);
        let expected = r#"# HELP a_total Two\nlines.
# TYPE a_total counter
a_total 3
# HELP b_seconds Took.
# TYPE b_seconds histogram
b_seconds_bucket{route="x\"\\\ny",le="0.005"} 1
b_seconds_bucket{route="x\"\\\ny",le="1"} 1
b_seconds_bucket{route="x\"\\\ny",le="+Inf"} 3
b_seconds_sum{route="x\"\\\ny"} 4.5
b_seconds_count{route="x\"\\\ny"} 3
"#;
        assert_eq!(text.finish(), expected);
    }
}
