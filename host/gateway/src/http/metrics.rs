//! `GET /metrics`, in either format that Prometheus reads.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use hostd_protocol::{Request as Asked, Response as Answer};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::refused::Refused;
use crate::gateway::Shared;
use crate::{Caller, Service};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn metrics<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Answer::Metrics(told) = shared.service.handle(&caller, Asked::Metrics).await? else {
        return Err(Refused::misunderstood());
    };
    let accepted = headers.get(ACCEPT).and_then(|kinds| kinds.to_str().ok());
    let open = accepted.is_some_and(|kinds| kinds.contains("application/openmetrics-text"));
    let (told, kind) = if open {
        (told, OPEN_METRICS)
    } else {
        (plain(&told), PLAIN)
    };
    let mut response = told.into_response();
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// The older format of Prometheus, for who does not ask for OpenMetrics. There a counter's family is
/// called as its samples are, and the end is not marked.
fn plain(told: &str) -> String {
    let counters: HashSet<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut plain = String::with_capacity(told.len());
    for line in told.lines().filter(|line| *line != "# EOF") {
        let family = ["# HELP ", "# TYPE "].iter().find_map(|mark| {
            let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
            counters.contains(name).then_some((mark, name, rest))
        });
        let written = match family {
            Some((mark, name, rest)) => writeln!(plain, "{mark}{name}_total {rest}"),
            None => writeln!(plain, "{line}"),
        };
        written.expect("a string takes everything");
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_calls_counters_as_their_samples() {
        let told = "# HELP a Calls.\n# TYPE a counter\na_total{x=\"# TYPE b counter\"} 1\n\
                    # HELP b Size.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_total Calls.\n# TYPE a_total counter\n\
                        a_total{x=\"# TYPE b counter\"} 1\n# HELP b Size.\n# TYPE b gauge\nb 2\n";
        assert_eq!(plain(told), expected);
    }
}
