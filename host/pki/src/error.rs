//! What can be wrong with certificates and their files, each with what to do about it.

use std::path::PathBuf;

use thiserror::Error;

/// Why certificates could not be made, read or used.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`, `lock`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// There is no pki directory.
    #[error(
        "no pki directory at {}: hostd makes one when it first starts; name its directory with --pki, or make one with `hostctl pki init`",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// The directory has no authority.
    #[error(
        "{} is missing: make an authority with `hostctl pki init`, or copy the cluster's ca.pem there",
        .0.display()
    )]
    NoAuthority(PathBuf),
    /// The authority's key is elsewhere, so nothing can be issued here.
    #[error(
        "{} is missing, so no certificate can be issued here: run `hostctl pki issue` where the authority's key is, then copy ca.pem and the new pair to this directory",
        .0.display()
    )]
    NoAuthorityKey(PathBuf),
    /// A certificate or its key is not there.
    #[error("{} is missing: issue it with `hostctl pki issue {issue}`", path.display())]
    NotIssued {
        /// The missing file.
        path: PathBuf,
        /// The arguments of `hostctl pki issue` that make it.
        issue: String,
    },
    /// A file is not there, and no command of hostd's makes it.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// What should be made is there already.
    #[error("{} is already there: {hint}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// A file does not hold what its name promises.
    #[error("{} is not usable: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate belongs to somebody else.
    #[error("{} is a certificate of {found}, not of {expected}", path.display())]
    WrongIdentity {
        /// The file.
        path: PathBuf,
        /// Who it names.
        found: String,
        /// Who was wanted.
        expected: String,
    },
    /// A certificate's validity is over or has not begun.
    #[error(
        "{} is valid from {not_before} to {not_after} only: check this machine's clock, or replace it with `hostctl pki issue {issue} --replace`",
        path.display()
    )]
    OutsideValidity {
        /// The file.
        path: PathBuf,
        /// First moment of validity, RFC 3339.
        not_before: String,
        /// Last moment of validity, RFC 3339.
        not_after: String,
        /// The arguments of `hostctl pki issue` that replace it.
        issue: String,
    },
    /// A name that cannot be a client's.
    #[error(
        "{0:?} cannot be a client's name: use letters, digits, dots, dashes, underscores and @, at most 64, and neither `ca` nor `node-…`"
    )]
    ClientName(String),
    /// A node number that no node can have.
    #[error("node numbers start at 1")]
    NodeId,
    /// A certificate says nothing about whose it is.
    #[error("certificate without an identity: {0}")]
    NoIdentity(String),
    /// The cryptographic library refused.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// Other certificates than those in force, and not fit to replace them.
    #[error("{0}")]
    Unfit(String),
    /// The authority has been replaced, and the one before is still believed.
    #[error(
        "{} holds two authorities: a rotation is under way; end it with `hostctl pki rotate --finish`",
        .0.display()
    )]
    RotationUnderWay(PathBuf),
    /// Certificates that nobody would believe any more.
    #[error(
        "{} still come from the authority before: issue them again, such as with `hostctl pki issue {issue} --replace`",
        files.join(", ")
    )]
    OfOldAuthority {
        /// Their names.
        files: Vec<String>,
        /// The arguments of `hostctl pki issue` that replace the first.
        issue: String,
    },
    /// What is no join token.
    #[error("this is no join token; `hostctl token create` prints one")]
    NotAToken,
    /// A token names one authority.
    #[error(
        "the CA file holds several authorities, and a token names one: end the rotation first with `hostctl pki rotate --finish`"
    )]
    SeveralAuthorities,
    /// The TLS library refused the certificates.
    #[error("the certificates cannot be used for TLS: {0}")]
    Tls(String),
}

impl PkiError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn malformed(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Malformed {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
