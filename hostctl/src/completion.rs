//! `hostctl completion`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Arguments;
use crate::exit::Exit;
use crate::output;

pub(crate) fn run(shell: Shell) -> Result<(), Exit> {
    // `generate` panics when its writer fails, and a pipe may be closed.
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "hostctl", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}
