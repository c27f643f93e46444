//! `hostctl pki`: works on files only, without a server.

use std::io::{self, Write};

use hostd_pki::{
    Authority, CA_FILE, CertificateInfo, Existing, PkiError, ServerNames, Subject, key_file, show,
};
use hostd_protocol::NodeId;

use crate::args::{Format, Global, node_id};
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  hostctl pki init                          an authority and the admin's certificate
  hostctl pki issue alice                   a certificate for the client alice
  hostctl pki issue --node 2 --host 10.0.0.2
                                            a certificate for node 2, to copy to its machine
  hostctl --pki /etc/hostd/pki pki show

The directory is --pki. hostd makes it by itself when it first starts on a machine; a node on \
another machine needs ca.pem, node-N.pem and node-N-key.pem from here.")]
pub(crate) enum Command {
    /// Make an authority and the admin's certificate
    Init,
    /// Issue a certificate for a client or a node
    Issue {
        /// The client's name; not needed for a node, whose files are named node-ID
        #[arg(required_unless_present = "node")]
        name: Option<String>,
        /// Issue it for the node of this number
        #[arg(long, value_name = "ID", value_parser = node_id)]
        node: Option<NodeId>,
        /// A name or address by which clients reach the node over TLS; repeatable
        #[arg(long, value_name = "HOST", requires = "node")]
        host: Vec<String>,
        /// Issue a new one in the place of one that is there
        #[arg(long)]
        replace: bool,
    },
    /// Replace the authority: both are believed until --finish
    Rotate {
        /// Believe only the new one; every certificate here must have been issued again
        #[arg(long)]
        finish: bool,
    },
    /// List the certificates: whose they are, how long they are valid, their fingerprints
    Show,
}

pub(crate) fn run(global: &Global, command: Command) -> Result<(), Exit> {
    match command {
        Command::Init => {
            Authority::init(&global.pki).map_err(Exit::Pki)?;
            list(global)
        }
        Command::Issue {
            name,
            node,
            host,
            replace,
        } => {
            let subject = match node {
                Some(id) => Subject::Node(id),
                None => Subject::Client(name.unwrap_or_default()),
            };
            let names = host
                .iter()
                .fold(ServerNames::default(), |names, host| names.with_host(host));
            issue(global, &subject, &names, replace)
        }
        Command::Rotate { finish } => {
            let replaced = if finish {
                Authority::finish_rotation(&global.pki)
            } else {
                Authority::rotate(&global.pki)
            };
            replaced.map_err(Exit::Pki)?;
            list(global)
        }
        Command::Show => list(global),
    }
}

/// What is to be done next while two authorities are believed, where people see it and programs do not.
fn next_step(global: &Global, found: &[CertificateInfo]) -> io::Result<()> {
    let authorities = found.iter().filter(|info| info.file.ends_with(CA_FILE));
    if authorities.count() < 2 {
        return Ok(());
    }
    let directory = global.pki.display();
    writeln!(
        io::stderr(),
        "a rotation is under way: copy {directory}/{CA_FILE} to every machine and client, issue each certificate \
         again (hostctl pki issue ... --replace), then end it with: hostctl pki rotate --finish"
    )
}

fn issue(
    global: &Global,
    subject: &Subject,
    names: &ServerNames,
    replace: bool,
) -> Result<(), Exit> {
    let existing = if replace {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let issued = || -> Result<CertificateInfo, PkiError> {
        let file = Authority::open(&global.pki)?.issue_with_names(subject, names, existing)?;
        CertificateInfo::read(&file)
    };
    let info = issued().map_err(Exit::Pki)?;
    if global.output == Format::Json {
        return Ok(output::json(&info)?);
    }
    let mut out = output::stdout();
    let stem = info.file.file_stem().unwrap_or_default().to_string_lossy();
    writeln!(out, "{}", info.file.display())?;
    writeln!(out, "{}", key_file(&global.pki, &stem).display())?;
    out.flush()?;
    Ok(())
}

fn list(global: &Global) -> Result<(), Exit> {
    let found = show(&global.pki).map_err(Exit::Pki)?;
    next_step(global, &found)?;
    if global.output == Format::Json {
        return Ok(output::json(&found)?);
    }
    let rows = found
        .iter()
        .map(|info| {
            let file = info.file.file_name().unwrap_or_default().to_string_lossy();
            let day = info.not_after.split('T').next().unwrap_or_default();
            let until = if info.valid {
                day.to_owned()
            } else {
                format!("{day} (not valid now)")
            };
            vec![
                file.into_owned(),
                info.identity.clone(),
                info.subject.clone(),
                until,
                info.sha256.clone(),
            ]
        })
        .collect();
    Ok(output::table(
        &["FILE", "IDENTITY", "SUBJECT", "VALID UNTIL", "SHA-256"],
        rows,
    )?)
}
