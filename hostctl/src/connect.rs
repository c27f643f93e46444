//! From the global options to a client.

use std::io::{self, Write};

use hostd_pki::Credentials;

use crate::args::Global;
use crate::exit::Exit;
use hostd_client::{Builder, Client};

/// The credentials that the options name. Warnings about them go to standard error.
pub(crate) fn credentials(global: &Global) -> Result<Credentials, Exit> {
    let loaded = match (&global.ca, &global.cert, &global.key) {
        (Some(ca), Some(cert), Some(key)) => Credentials::load(ca, cert, key),
        // The parser wants all three or none.
        _ => Credentials::from_dir_client(&global.pki, &global.identity),
    };
    let credentials = loaded.map_err(Exit::Credentials)?;
    for warning in credentials.warnings() {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    Ok(credentials)
}

/// A client as the options say.
pub(crate) fn builder(global: &Global) -> Result<Builder, Exit> {
    Ok(Client::builder()
        .credentials(credentials(global)?)
        .servers(global.servers.iter())
        .timeout(global.timeout))
}

/// A client for one request.
pub(crate) async fn one_shot(global: &Global) -> Result<Client, Exit> {
    Ok(builder(global)?.one_shot().connect().await?)
}
