//! Bounds that every replica enforces alike.

use serde::{Deserialize, Serialize};

/// What a limit is bounded by itself, and for whom it can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitInfo {
    /// The name, as users see it.
    pub name: &'static str,
    /// The lowest value that leaves the cluster usable.
    pub min: u64,
    /// The highest value that every node can honour.
    pub max: u64,
    /// Whether a plugin can have a value of its own.
    pub per_plugin: bool,
    /// What it bounds.
    pub summary: &'static str,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $default:expr, $min:expr, $max:expr, $per_plugin:expr;)*) => {
        /// Bounds that every replica enforces alike. Changing one is a log entry.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Every limit.
            pub const ALL: &'static [LimitInfo] = &[$(LimitInfo {
                name: stringify!($name),
                min: $min,
                max: $max,
                per_plugin: $per_plugin,
                summary: concat!($($doc),+),
            },)*];

            /// The value of a limit; `None` when none has this name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            fn slot(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Fuel that one command may use; about one unit a WebAssembly instruction.
    fuel_per_command: 100_000_000, 100_000, 1_000_000_000_000, true;
    /// Linear memory that one plugin instance may have, in bytes.
    memory_bytes_max: 64 << 20, 1 << 20, 1 << 30, true;
    /// Size of all arguments of a command together, each counted with 32 bytes for itself.
    arguments_bytes_max: 16 << 20, 1 << 10, 32 << 20, true;
    /// Size of a reply.
    reply_bytes_max: 16 << 20, 1 << 10, 32 << 20, true;
    /// Size of a key in a plugin's state.
    key_bytes_max: 4 << 10, 64, 64 << 10, true;
    /// Size of a value in a plugin's state.
    value_bytes_max: 8 << 20, 64, 32 << 20, true;
    /// Keys in one plugin's state; a write that would go beyond is refused with `no_space`.
    keys_max: 1 << 40, 0, 1 << 40, true;
    /// Size of one plugin's state, keys and values; a write that would go beyond is refused with
    /// `no_space`.
    data_bytes_max: 1 << 50, 0, 1 << 50, true;
    /// Timers that one plugin has set at the same time.
    timers_max: 1_000_000, 0, 100_000_000, true;
    /// Events that one command may publish.
    events_max: 10_000, 0, 1_000_000, true;
    /// Size of the topics and payloads that one command may publish.
    event_bytes_max: 1 << 20, 0, 16 << 20, true;
    /// Size of a plugin's component.
    component_bytes_max: 16 << 20, 64 << 10, 32 << 20, false;
    /// Plugins that a cluster may have.
    plugins_max: 64, 1, 64, false;
    /// Versions of one plugin that are kept for a rollback, with the one that runs.
    versions_max: 8, 1, 64, false;
    /// Uploads that are under way, or done and not activated, at the same time.
    uploads_max: 8, 1, 64, false;
    /// Size of all changes since the last checkpoint, which are kept in memory. A command that
    /// would go beyond is refused until the next checkpoint.
    overlay_bytes_max: 512 << 20, 4 << 10, 1 << 34, false;
    /// A session that was not used for this long, in nanoseconds, is forgotten.
    session_idle_ns_max: 3_600_000_000_000, 1_000_000_000, 1 << 60, false;
    /// Sessions that are kept at the same time; the least recently used goes first.
    sessions_max: 100_000, 1, 10_000_000, false;
    /// An idempotency key is kept for this long, in nanoseconds, and no shorter: forgotten early,
    /// its command would run a second time.
    key_age_ns_max: 600_000_000_000, 1_000_000_000, 1 << 60, false;
    /// Idempotency keys that are kept at the same time, half of them for one principal at most.
    once_keys_max: 1_000_000, 2, 100_000_000, false;
    /// Unacknowledged commands in one session.
    session_window: 4_096, 1, 1_000_000, false;
    /// Bytes of replies kept for retries, over all sessions and keys; the oldest are forgotten
    /// first.
    session_reply_bytes_max: 64 << 20, 64 << 10, 1 << 34, false;
    /// Timers that one wake fires at most.
    timers_per_wake: 256, 1, 100_000, false;
}

impl Limits {
    /// What is known about the limit with this name.
    pub fn info(name: &str) -> Option<&'static LimitInfo> {
        Self::ALL.iter().find(|info| info.name == name)
    }

    /// Sets a limit by its name.
    ///
    /// # Errors
    /// Says what is wrong with the name or the value.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), String> {
        let (Some(info), Some(slot)) = (Self::info(name), self.slot(name)) else {
            return Err(format!(
                "no limit is named '{name}'; see `hostctl plugin limits`"
            ));
        };
        if value < info.min || value > info.max {
            return Err(format!(
                "{name} is between {} and {}, not {value}",
                info.min, info.max
            ));
        }
        *slot = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_bounds_and_every_limit_can_be_set() {
        let defaults = Limits::default();
        for info in Limits::ALL {
            let value = defaults.get(info.name).unwrap();
            assert!(value >= info.min && value <= info.max, "{info:?}");
            let mut limits = defaults.clone();
            limits.set(info.name, info.min).unwrap();
            assert_eq!(limits.get(info.name), Some(info.min));
            assert!(limits.set(info.name, info.max + 1).is_err());
        }
        assert!(Limits::default().set("none", 1).is_err());
    }
}
