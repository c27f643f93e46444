//! Running plugins: one engine per node, one instance per plugin between checkpoints.

mod engine;
mod host;
mod instance;
pub(crate) mod types;

pub use engine::{Engine, RULES_POLICY, RULES_TOKENS};
pub(crate) use engine::{QuerySlot, RULES_HANDING_COSTS};
pub(crate) use host::{HostState, HostStop, Meter, Scope, Task, charge, charge_bytes, metered};
pub(crate) use instance::{
    Finished, GuestPair, Instance, Stop, ask_description, ask_watched, describe, instantiate,
    mistyped_exports, own_failure,
};
