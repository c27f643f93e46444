//! What a component costs to compile, told from its bytes before a compiler sees it.
//!
//! Compiling takes far longer than in proportion to a function's size where much is alive over many
//! branches: two hundred loops within each other around two hundred locals are 3 KB, and took a minute.
//! Every node must compile what is activated, and all must agree whether it is, so neither a clock nor
//! a memory limit can bound that. An estimate from the bytes can: it is the same everywhere, and errs
//! on the high side for code that no compiler writes.

use wasmparser::{BinaryReaderError, BlockType, FunctionBody, Operator, Parser, Payload};

use crate::plugin::PluginError;

/// Units that one function, and all of a component, may cost. A unit was about a microsecond of one
/// core where the weights below were measured. Part of the rules.
const FUNCTION_UNITS_MAX: u64 = 5_000_000;
const COMPONENT_UNITS_MAX: u64 = 30_000_000;

/// What the compiler keeps of a function while it works on it follows the size of the body. Part of the
/// rules.
const FUNCTION_BYTES_MAX: usize = 512 << 10;

/// Functions and types: each is kept, with tables of its own, until all are compiled. Part of the rules.
const PARTS_MAX: u64 = 50_000;

/// What a function or a type costs though it is empty.
const PART_UNITS: u64 = 60;

/// Refuses a component whose compilation would take too long or too much memory.
pub(crate) fn check(component: &[u8]) -> Result<(), PluginError> {
    let invalid = |error: BinaryReaderError| PluginError::Invalid(error.to_string());
    let (mut parts, mut units) = (0u64, 0u64);
    // The widest function type of a module stands for all of them.
    let mut width = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::Version { .. } => width = 0,
            Payload::TypeSection(types) => {
                for ty in types.into_iter_err_on_gc_types() {
                    let ty = ty.map_err(invalid)?;
                    width = width.max(ty.params().len() as u64 + ty.results().len() as u64);
                    parts += 1;
                }
            }
            Payload::CodeSectionEntry(body) => {
                parts += 1;
                let own = function(&body, width).map_err(invalid)?;
                if own > FUNCTION_UNITS_MAX || body.range().len() > FUNCTION_BYTES_MAX {
                    return Err(too_costly(&format!(
                        "the function at byte {} is too large, or has too many locals alive over too \
                         many branches",
                        body.range().start
                    )));
                }
                units += own;
            }
            _ => {}
        }
    }
    if parts > PARTS_MAX {
        return Err(too_costly(&format!(
            "it has {parts} functions and types; {PARTS_MAX} are the most"
        )));
    }
    if units + parts * PART_UNITS > COMPONENT_UNITS_MAX {
        return Err(too_costly("all of its functions together are too much"));
    }
    Ok(())
}

fn too_costly(what: &str) -> PluginError {
    PluginError::Resources(format!("compiling it would hold up the nodes: {what}"))
}

/// The units of a function.
fn function(body: &FunctionBody<'_>, width: u64) -> Result<u64, BinaryReaderError> {
    let mut locals = width;
    for declared in body.get_locals_reader()? {
        locals += u64::from(declared?.0);
    }
    // Branches, what is alive over them, and the values that calls and blocks hand over.
    let (mut branches, mut alive, mut handed) = (0u64, 0u64, 0u64);
    let mut loops = 0u64;
    let mut frames = Vec::new();
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        // A loop within loops costs by the square of their number.
        let crossing = |width: u64| (locals + width) * (1 + loops * loops / 16);
        match operators.read()? {
            Operator::Loop { blockty } => {
                frames.push(true);
                loops += 1;
                branches += 1;
                let crossing = (locals + passed(blockty, width)) * (1 + loops * loops / 16);
                alive = alive.saturating_add(crossing);
            }
            Operator::Block { blockty } | Operator::If { blockty } => {
                frames.push(false);
                branches += 1;
                alive = alive.saturating_add(crossing(passed(blockty, width)));
            }
            Operator::End => loops -= u64::from(frames.pop() == Some(true)),
            Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } => {
                branches += 1;
                alive = alive.saturating_add(crossing(0));
            }
            Operator::BrTable { targets } => {
                let mut distinct: Vec<u32> = targets.targets().collect::<Result<_, _>>()?;
                distinct.sort_unstable();
                distinct.dedup();
                branches += distinct.len() as u64;
                alive = alive.saturating_add(crossing(0).saturating_mul(distinct.len() as u64));
            }
            Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => handed += width,
            _ => {}
        }
    }
    Ok((body.range().len() as u64)
        .saturating_add(locals / 6)
        .saturating_add(branches.saturating_mul(branches) / 100)
        .saturating_add(handed / 2)
        .saturating_add(alive / 2))
}

/// Values that a block takes and leaves.
fn passed(block: BlockType, width: u64) -> u64 {
    match block {
        BlockType::Empty => 0,
        BlockType::Type(_) => 1,
        BlockType::FuncType(_) => width,
    }
}
