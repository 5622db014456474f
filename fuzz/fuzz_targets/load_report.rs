//! The header in which workers tell their load: whatever stands there, figures that balancing can go by come out of it, and
//! what was read is read again after it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::api::load_report::LoadReport;

fuzz_target!(|value: &str| {
    let Some(report) = LoadReport::parse(value) else {
        return;
    };
    for figure in [
        report.utilization,
        report.requests_per_second,
        report.capacity().map(f64::from),
    ] {
        assert!(
            figure.is_none_or(|figure| figure.is_finite() && figure >= 0.0),
            "{report:?}"
        );
    }
    let header = report.to_header();
    assert_eq!(LoadReport::parse(&header), Some(report), "{header}");
});
