//! Turns a core module into a component, and says early when it is not a plugin.

use anyhow::{Context as _, Result, bail};
use wasmparser::{ComponentImport, ComponentTypeRef, Parser, Payload};
use wit_component::ComponentEncoder;

/// Where a plugin's imports come from, and nowhere else.
const IMPORTS: &str = "hostd:plugin/";

/// What a plugin exports: the functions of `wit/world.wit`.
const EXPORTS: [&str; 5] = ["describe", "apply", "query", "wake", "migrate"];

/// Turns a core module with wit-bindgen's metadata into a component.
///
/// Fails when the module is no plugin: when it lacks an export of the plugin world, or imports
/// what no host provides.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .context("the module cannot be made a component")?;
    check_world(&component)?;
    Ok(component)
}

/// Checks what the component exports and imports.
fn check_world(component: &[u8]) -> Result<()> {
    let mut exports = Vec::new();
    // Modules and components inside the component have exports and imports of their own.
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export?.name.name);
                }
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    check_import(&import?)?;
                }
            }
            _ => {}
        }
    }
    match EXPORTS.iter().find(|name| !exports.contains(name)) {
        None => Ok(()),
        Some(name) => {
            bail!("it does not export `{name}`; is there an `impl` block with #[plugin]?")
        }
    }
}

fn check_import(import: &ComponentImport<'_>) -> Result<()> {
    let name = import.name.name;
    // A type is not asked of the host: it names one that another import brings.
    let is_type = matches!(import.ty, ComponentTypeRef::Type(_));
    if !is_type && !name.starts_with(IMPORTS) {
        bail!("it imports `{name}`, which hostd does not provide");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest module: magic number and version.
    const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn a_module_without_the_plugin_attribute_is_told_so() {
        let error = componentize(EMPTY_MODULE).unwrap_err();
        assert!(format!("{error:#}").contains("#[plugin]"), "{error:#}");
    }

    #[test]
    fn garbage_is_refused() {
        assert!(componentize(b"not wasm").is_err());
        assert!(componentize(b"").is_err());
    }
}
