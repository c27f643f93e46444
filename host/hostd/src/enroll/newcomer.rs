//! `--token`: a node that has no certificate gets one from the cluster that it joins.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hostd_pki::{CA_FILE, Enrollment, JoinToken, PkiError, certificate_file, node_stem};
use hostd_protocol::codec::{decode, encode};
use hostd_protocol::enroll::ENROLL_BYTES_MAX;
use hostd_protocol::{Enrolled, Failure, FailureCode};
use hostd_quic::SERVER_NAME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::{Config, ConfigError, Formation, Pki};
use crate::node::StartError;

/// How long one member may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two times that all are asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a member gave no certificate.
enum Denied {
    /// It cannot be reached, or cannot answer now; it may later, or another may.
    ForNow(String),
    /// The cluster says no.
    ForGood(String),
}

/// Gets the node its certificate, where it has a token and no certificate. Waits until a member
/// answers.
pub(crate) async fn enroll(config: &Config) -> Result<(), StartError> {
    let Some(token) = &config.token else {
        return Ok(());
    };
    let bad = |detail: &str| {
        StartError::Config(ConfigError::Flag {
            flag: "--token",
            detail: detail.to_owned(),
        })
    };
    let Pki::Directory(directory) = &config.pki else {
        return Err(bad(
            "gets a certificate into --pki; leave out --ca, --cert and --key",
        ));
    };
    let certificate = certificate_file(directory, &node_stem(config.node_id));
    if certificate.exists() && directory.join(CA_FILE).exists() {
        tracing::info!("this node has its certificate, so --token is not looked at");
        return Ok(());
    }
    if directory.join(CA_FILE).exists() {
        return Err(bad(&format!(
            "{} has an authority already: issue the certificate there, or name an empty --pki",
            directory.display()
        )));
    }
    let (Formation::Join(members) | Formation::Expect { members, .. }) = &config.formation else {
        return Err(bad("needs --join: a member that takes this node in"));
    };
    let token: JoinToken = token
        .expose()
        .parse()
        .map_err(|error: PkiError| bad(&error.to_string()))?;
    let enrollment = Enrollment::new(token, config.node_id, &config.server_names())?;
    let enrolled = ask_all(members, &enrollment).await?;
    enrollment.accept(directory, &enrolled)?;
    tracing::info!(
        directory = %directory.display(),
        "this node has its certificate; the token is used up"
    );
    Ok(())
}

async fn ask_all(members: &[String], enrollment: &Enrollment) -> Result<Enrolled, StartError> {
    let mut told = String::new();
    loop {
        let mut reasons = Vec::new();
        for member in members {
            match ask(member, enrollment).await {
                Ok(enrolled) => return Ok(enrolled),
                Err(Denied::ForGood(reason)) => {
                    return Err(StartError::Formation(format!(
                        "{member} gives no certificate: {reason}"
                    )));
                }
                Err(Denied::ForNow(reason)) => reasons.push(format!("{member}: {reason}")),
            }
        }
        let reasons = reasons.join("; ");
        if reasons != told {
            tracing::info!("still waiting for a certificate: {reasons}");
            told = reasons;
        }
        sleep(PAUSE).await;
    }
}

async fn ask(member: &str, enrollment: &Enrollment) -> Result<Enrolled, Denied> {
    let config = enrollment
        .client_config()
        .map_err(|error| Denied::ForGood(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    match timeout(PATIENCE, converse(member, &connector, enrollment)).await {
        Ok(Ok(Ok(enrolled))) => Ok(enrolled),
        Ok(Ok(Err(failure))) => Err(judge(failure)),
        // Another authority will not become the right one, and nothing was said to it.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Denied::ForGood(error.to_string()))
        }
        Ok(Err(error)) => Err(Denied::ForNow(error.to_string())),
        Err(_) => Err(Denied::ForNow("no answer".to_owned())),
    }
}

fn judge(failure: Failure) -> Denied {
    match failure.code {
        FailureCode::NoLeader | FailureCode::NoQuorum | FailureCode::Overloaded => {
            Denied::ForNow(failure.message)
        }
        _ => Denied::ForGood(failure.message),
    }
}

async fn converse(
    member: &str,
    connector: &TlsConnector,
    enrollment: &Enrollment,
) -> io::Result<Result<Enrolled, Failure>> {
    let stream = TcpStream::connect(member).await?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    let request = encode(enrollment.request());
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let length = stream.read_u32_le().await? as usize;
    if length > ENROLL_BYTES_MAX {
        return Err(io::Error::other("its answer is too long"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    decode(&answer).map_err(io::Error::other)
}
