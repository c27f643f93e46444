//! Which hostd-sdk a new crate depends on.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::exit::Exit;

/// Where the SDK is in a checkout.
const PLACE: &str = "guest-sdk";

/// Where the SDK comes from.
#[derive(Debug)]
pub(super) enum Sdk {
    /// A checkout of hostd: its SDK's directory, and why this one.
    Checkout(PathBuf, &'static str),
    /// The registry's release of this version.
    Registry(&'static str),
}

impl Sdk {
    /// The one that was asked for: a checkout, or the SDK's directory in one.
    pub(super) fn at(path: &Path) -> Result<Self, Exit> {
        let found = [path.join(PLACE), path.to_owned()]
            .into_iter()
            .find(|directory| is_sdk(directory));
        let shown = path.display();
        let found = found.ok_or_else(|| {
            Exit::Usage(format!(
                "{shown} has no hostd-sdk; name a checkout of hostd with --sdk"
            ))
        })?;
        Ok(Self::Checkout(found.canonicalize()?, "as --sdk says"))
    }

    /// The one of the checkout that one is in, or that the new directory is in; otherwise the
    /// registry's.
    pub(super) fn near(directory: &Path) -> Self {
        let here = std::env::current_dir().ok();
        if let Some(found) = here.as_deref().and_then(around) {
            return Self::Checkout(found, "of the checkout that you are in");
        }
        match around(directory) {
            Some(found) => Self::Checkout(found, "of the checkout that it is in"),
            None => Self::Registry(env!("CARGO_PKG_VERSION")),
        }
    }

    /// What `Cargo.toml` says of the SDK and of its test harness.
    pub(super) fn dependencies(&self) -> [String; 2] {
        match self {
            Self::Checkout(directory, _) => [directory.clone(), directory.join("testing")]
                // JSON's strings are TOML's as well.
                .map(|path| format!("{{ path = {} }}", json!(path.to_string_lossy()))),
            Self::Registry(version) => [format!("{version:?}"), format!("{version:?}")],
        }
    }

    /// The versions of all dependencies with which that checkout was tested.
    pub(super) fn lock_file(&self) -> Option<PathBuf> {
        match self {
            Self::Checkout(directory, _) => Some(directory.parent()?.join("Cargo.lock")),
            Self::Registry(_) => None,
        }
        .filter(|file| file.is_file())
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Checkout(directory, _) => json!({ "path": directory.to_string_lossy() }),
            Self::Registry(version) => json!({ "version": version }),
        }
    }
}

/// The SDK of the checkout that a directory is in.
fn around(directory: &Path) -> Option<PathBuf> {
    directory
        .ancestors()
        .map(|ancestor| ancestor.join(PLACE))
        .find(|directory| is_sdk(directory))
}

fn is_sdk(directory: &Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml"));
    manifest.is_ok_and(|manifest| manifest.contains("name = \"hostd-sdk\""))
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout(directory, why) => write!(f, "SDK: {}, {why}", directory.display()),
            Self::Registry(version) => write!(
                f,
                "SDK: hostd-sdk {version} from the registry; to use the one of a checkout of hostd, make the crate anew with --sdk PATH"
            ),
        }
    }
}
