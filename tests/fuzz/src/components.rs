//! Components as bytes: finding and replacing the core module that holds a plugin's code.

use std::ops::Range;

use wasmparser::{BinaryReader, Parser, Payload};

/// Section of a component that is a core module.
const CORE_MODULE: u8 = 1;

/// Sections of a component or module: number, and where number and length, and where the content
/// lie. Stops where that makes no sense any more.
pub fn sections(binary: &[u8]) -> Vec<(u8, Range<usize>, Range<usize>)> {
    let mut sections = Vec::new();
    let mut at = 8;
    while at < binary.len() {
        let mut reader = BinaryReader::new(&binary[at + 1..], 0);
        let Ok(length) = reader.read_var_u32() else {
            break;
        };
        let content = at + 1 + reader.current_position();
        let end = content.saturating_add(length as usize);
        if end > binary.len() {
            break;
        }
        sections.push((binary[at], at..end, content..end));
        at = end;
    }
    sections
}

/// Where the core module lies that exports what a plugin exports.
pub fn main_module(component: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    sections(component)
        .into_iter()
        .filter(|(kind, ..)| *kind == CORE_MODULE)
        .map(|(_, whole, content)| (whole, content))
        .find(|(_, content)| {
            exports(&component[content.clone()])
                .iter()
                .any(|name| name == "describe")
        })
}

fn exports(module: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Ok(Payload::ExportSection(section)) = payload {
            names.extend(
                section
                    .into_iter()
                    .flatten()
                    .map(|export| export.name.to_owned()),
            );
        }
    }
    names
}

/// The component with another main module.
///
/// # Panics
/// When it has none.
pub fn transplant(component: &[u8], module: &[u8]) -> Vec<u8> {
    let (whole, _) = main_module(component).expect("a plugin");
    let mut other = component[..whole.start].to_vec();
    other.push(CORE_MODULE);
    leb128(&mut other, module.len());
    other.extend_from_slice(module);
    other.extend_from_slice(&component[whole.end..]);
    other
}

/// A number as WebAssembly writes lengths.
pub fn leb128(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
