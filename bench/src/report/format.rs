//! Numbers as people read them.

/// A whole number in groups of three digits: `12 345`.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Microseconds in a unit that suits: `430 µs`, `5.6 ms`.
pub(crate) fn micros(value: f64) -> String {
    if value < 1_000.0 {
        format!("{value:.0} µs")
    } else if value < 100_000.0 {
        format!("{:.1} ms", value / 1e3)
    } else {
        format!("{:.0} ms", value / 1e3)
    }
}

/// Seconds in a unit that suits.
pub(crate) fn seconds(value: f64) -> String {
    if value < 1.0 {
        micros(value * 1e6)
    } else {
        format!("{value:.2} s")
    }
}

/// A factor: `5.3×`.
pub(crate) fn times(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}×")
    } else {
        format!("{value:.0}×")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (value, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1_000.0, "1 000"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn units_suit() {
        assert_eq!(micros(430.4), "430 µs");
        assert_eq!(micros(5_600.0), "5.6 ms");
        assert_eq!(micros(120_000.0), "120 ms");
        assert_eq!(seconds(0.75), "750 ms");
        assert_eq!(seconds(1.5), "1.50 s");
    }
}
