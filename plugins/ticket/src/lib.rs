//! Hands out tickets: numbers that only rise.
use hostd_sdk::prelude::*;

struct Ticket;

#[plugin]
impl Ticket {
    /// Takes the next ticket: an integer larger than every earlier one.
    #[write(example = "ticket")]
    fn ticket(ctx: &Context) -> i64 {
        ctx.counter("next").add(1)
    }
}
