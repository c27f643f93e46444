//! Telling subscribers.

use crate::bindings::hostd::plugin::events;

/// Publishes `payload` under `topic`.
pub(crate) fn publish(topic: &str, payload: &[u8]) {
    events::publish(topic, payload);
}
