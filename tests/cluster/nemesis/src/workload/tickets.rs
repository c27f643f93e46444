//! Tickets: each goes to one caller, and one taken later is larger.

use anyhow::Result;
use hostd_client::CallOptions;

use super::{Caller, add, integer, read_at_last};

pub(super) async fn step(caller: &mut Caller) {
    let options = CallOptions::default();
    let call = caller.call((), &[b"ticket"], &options, integer).await;
    add(&caller.shared.records.tickets, call);
}

/// One more, which is larger than all.
pub(super) async fn finish(caller: &mut Caller) -> Result<()> {
    read_at_last(
        caller,
        |records| &records.tickets,
        (),
        &[b"ticket"],
        integer,
    )
    .await
}
