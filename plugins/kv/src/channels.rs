//! Channels, which hold nothing: what is published on one is told to those who watch it, and forgotten.

use hostd_sdk::prelude::*;

use crate::errors;

pub(crate) struct Channels;

#[commands]
impl Channels {
    /// Publishes a message on a channel: whoever watches it as a topic is told, on every node, and nobody
    /// later.
    ///
    /// A channel is text. Over the Redis protocol the reply is the number of its subscribers on the
    /// asked node, as in a Redis cluster.
    #[write(example = "publish news hello")]
    fn publish(ctx: &Context, channel: Key, message: Vec<u8>) -> Result<()> {
        let Ok(topic) = std::str::from_utf8(&channel) else {
            return Err(errors::channel_is_no_text());
        };
        ctx.publish(topic, message);
        Ok(())
    }
}
