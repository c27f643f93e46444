//! Where a component's functions have other types than the plugin world's, told in the words of
//! `wit/`. The machine decides whether they fit; this only explains.

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Function, Handle, Resolve, SourceMap, Type, TypeDefKind, WorldId, WorldItem};

/// The world, as plugins are built against it.
const WIT: [(&str, &str); 8] = [
    ("clock.wit", include_str!("../../../../wit/clock.wit")),
    ("events.wit", include_str!("../../../../wit/events.wit")),
    ("log.wit", include_str!("../../../../wit/log.wit")),
    ("random.wit", include_str!("../../../../wit/random.wit")),
    ("state.wit", include_str!("../../../../wit/state.wit")),
    ("timer.wit", include_str!("../../../../wit/timer.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
    ("world.wit", include_str!("../../../../wit/world.wit")),
];

/// What is different, one line for each function. Empty as well when the component cannot be
/// read as a world.
pub(super) fn differences(component: &[u8]) -> Vec<String> {
    let Ok(DecodedWasm::Component(resolve, world)) = decode(component) else {
        return Vec::new();
    };
    let ours = World { resolve, world };
    let hosts = hosts_world();
    let mut differences = Vec::new();
    for (name, functions) in ours.imports() {
        let Some(provided) = hosts.import(&name) else {
            continue;
        };
        for function in functions {
            let of = format!("`{}` of {name}", function.name);
            match provided.iter().find(|known| known.name == function.name) {
                None => {
                    let known: Vec<_> = provided.iter().map(|known| known.name.as_str()).collect();
                    differences.push(format!(
                        "it imports {of}, which has no such function; it has {}",
                        known.join(", ")
                    ));
                }
                Some(known) => {
                    if let Some((own, hosts)) = compare(&ours, function, &hosts, known) {
                        differences.push(format!("it imports {of} as `{own}`; it is `{hosts}`"));
                    }
                }
            }
        }
    }
    for function in ours.exports() {
        let hosts_functions = hosts.exports();
        let wanted = hosts_functions
            .iter()
            .find(|known| known.name == function.name);
        if let Some(known) = wanted
            && let Some((own, hosts)) = compare(&ours, function, &hosts, known)
        {
            differences.push(format!(
                "it exports `{}` as `{own}`; hostd calls `{hosts}`",
                function.name
            ));
        }
    }
    differences
}

/// A world with what its types are made of.
struct World {
    resolve: Resolve,
    world: WorldId,
}

fn hosts_world() -> World {
    let mut sources = SourceMap::new();
    for (path, text) in WIT {
        sources.push_str(path, text);
    }
    let mut resolve = Resolve::default();
    let group = sources
        .parse()
        .unwrap_or_else(|(_, error)| panic!("the files of wit/ are valid: {error:?}"));
    let package = resolve.push_group(group).expect("wit/ refers to nothing");
    let world = resolve
        .select_world(&[package], Some("plugin"))
        .expect("wit/world.wit has the world");
    World { resolve, world }
}

impl World {
    /// The interfaces that are imported, by name, with their functions.
    fn imports(&self) -> impl Iterator<Item = (String, Vec<&Function>)> {
        let imports = &self.resolve.worlds[self.world].imports;
        imports.iter().filter_map(|(key, item)| match item {
            WorldItem::Interface { id, .. } => {
                let functions = self.resolve.interfaces[*id].functions.values();
                Some((self.resolve.name_world_key(key), functions.collect()))
            }
            _ => None,
        })
    }

    fn import(&self, name: &str) -> Option<Vec<&Function>> {
        self.imports()
            .find(|(known, _)| known == name)
            .map(|(_, functions)| functions)
    }

    fn exports(&self) -> Vec<&Function> {
        let exports = self.resolve.worlds[self.world].exports.values();
        exports
            .filter_map(|item| match item {
                WorldItem::Function(function) => Some(function),
                _ => None,
            })
            .collect()
    }
}

/// Both signatures, where they differ; spelt out where the names of their types do not show it.
fn compare(
    ours: &World,
    own: &Function,
    hosts: &World,
    known: &Function,
) -> Option<(String, String)> {
    let spelt = |by_name| {
        (
            signature(&ours.resolve, own, by_name),
            signature(&hosts.resolve, known, by_name),
        )
    };
    let whole = spelt(false);
    if whole.0 == whole.1 {
        return None;
    }
    let short = spelt(true);
    Some(if short.0 == short.1 { whole } else { short })
}

/// `func(command: string) -> reply`, with types by their names or spelt out.
fn signature(resolve: &Resolve, function: &Function, by_name: bool) -> String {
    let parameters: Vec<_> = function
        .params
        .iter()
        .map(|parameter| {
            format!(
                "{}: {}",
                parameter.name,
                text(resolve, parameter.ty, by_name)
            )
        })
        .collect();
    let result = match function.result {
        Some(result) => format!(" -> {}", text(resolve, result, by_name)),
        None => String::new(),
    };
    format!("func({}){result}", parameters.join(", "))
}

fn text(resolve: &Resolve, ty: Type, by_name: bool) -> String {
    let simple = match ty {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
        Type::Id(id) => {
            let definition = &resolve.types[id];
            return match (&definition.name, &definition.kind) {
                (Some(name), _) if by_name => name.clone(),
                (_, kind) => made_of(resolve, kind, by_name),
            };
        }
    };
    simple.into()
}

fn made_of(resolve: &Resolve, kind: &TypeDefKind, by_name: bool) -> String {
    let text = |ty: &Type| text(resolve, *ty, by_name);
    let optional = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".into(), &text);
    let joined = |parts: Vec<String>| parts.join(", ");
    match kind {
        TypeDefKind::Type(ty) => text(ty),
        TypeDefKind::List(ty) => format!("list<{}>", text(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", text(ty)),
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".into(),
            (ok, None) => format!("result<{}>", optional(ok)),
            (ok, err) => format!("result<{}, {}>", optional(ok), optional(err)),
        },
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", joined(tuple.types.iter().map(text).collect()))
        }
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields.map(|field| format!("{}: {}", field.name, text(&field.ty)));
            format!("record {{ {} }}", joined(fields.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, text(ty)),
                None => case.name.clone(),
            });
            format!("variant {{ {} }}", joined(cases.collect()))
        }
        TypeDefKind::Enum(cases) => {
            let cases = cases.cases.iter().map(|case| case.name.clone());
            format!("enum {{ {} }}", joined(cases.collect()))
        }
        TypeDefKind::Flags(flags) => {
            let flags = flags.flags.iter().map(|flag| flag.name.clone());
            format!("flags {{ {} }}", joined(flags.collect()))
        }
        TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => {
            let name = resolve.types[*id].name.as_deref();
            format!("{}<{}>", kind.as_str(), name.unwrap_or("resource"))
        }
        // None of the world's types; that it is another kind is all there is to say.
        other => other.as_str().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_read_and_spelt() {
        let world = hosts_world();
        let exports = world.exports();
        let shown = |name: &str, by_name| {
            let function = exports.iter().find(|function| function.name == name);
            signature(&world.resolve, function.unwrap(), by_name)
        };
        assert_eq!(
            shown("apply", true),
            "func(command: string, arguments: list<list<u8>>) -> result<reply, rejection>"
        );
        assert!(shown("query", false).contains("list<variant { nil, ok, integer(s64), "));
        assert_eq!(
            shown("wake", true),
            "func(id: list<u8>) -> result<_, rejection>"
        );
        assert_eq!(world.imports().count(), 7);
    }
}
