//! `hostctl call`.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt;

use crate::args::{Global, Read};
use crate::exit::Exit;
use crate::{connect, reply};
use hostd_client::CallOptions;
use hostd_protocol::{CallError, Rejection, RejectionCode};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hostctl call ticket
  hostctl call set greeting hello EX 60
  hostctl call get greeting --read stale
  hostctl call incrby hits -5
  hostctl call set picture --stdin < picture.png
  hostctl call set -- --odd-key value          after -- nothing is an option
  hostctl call incr orders --key order-4711    again with the same key: the same reply, no effect

Any node will do: it passes the call on to the leader. A write that is retried takes effect once.")]
pub(crate) struct Call {
    /// The command's name, in any case
    command: String,

    /// Its arguments, as bytes
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<OsString>,

    /// Read one more argument, the last, from standard input to its end
    #[arg(long)]
    stdin: bool,

    /// The plugin, where two have a command of this name
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,

    /// How fresh a read must be
    #[arg(long, value_enum, value_name = "HOW", default_value = "linearizable")]
    read: Read,

    /// An idempotency key: of all writes with it, one takes effect, and all get its reply
    #[arg(long = "key", value_name = "IDEMPOTENCY-KEY")]
    idempotency_key: Option<String>,
}

pub(crate) async fn run(global: &Global, call: Call) -> Result<(), Exit> {
    let mut arguments: Vec<Vec<u8>> = call
        .arguments
        .into_iter()
        .map(OsStringExt::into_vec)
        .collect();
    if call.stdin {
        let mut last = Vec::new();
        std::io::stdin().lock().read_to_end(&mut last)?;
        arguments.push(last);
    }
    let options = CallOptions {
        plugin: call.plugin,
        consistency: call.read.into(),
        key: call.idempotency_key,
        timeout: None,
    };
    let client = connect::one_shot(global).await?;
    let answer = client.call_with(&call.command, arguments, &options).await;
    // Before the answer is looked at: an error ends the program, the connection likewise.
    client.close().await;
    let answer = answer.map_err(|error| match error {
        CallError::Rejected(rejection) if rejection.code == RejectionCode::UnknownCommand => {
            Rejection {
                message: format!("{}; `hostctl commands` lists all", rejection.message),
                ..rejection
            }
            .into()
        }
        error => error,
    })?;
    Ok(reply::print(&answer, global.output)?)
}
