//! The methods of an `impl` block: which are commands, and what the others are.

use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Path, Result, Type,
    TypePath, parse_quote,
};

use crate::help::{self, Help};
use crate::parameter::{self, Parameter};

/// What an `impl` block holds.
pub(crate) struct Methods {
    /// The type it is about.
    pub(crate) owner: Ident,
    pub(crate) commands: Vec<Command>,
    pub(crate) wake: Option<Handler>,
    pub(crate) migrate: Option<Handler>,
    /// The method with `#[migrate_key]`.
    pub(crate) migrate_key: Option<Ident>,
}

/// A method with `#[write]` or `#[read]`.
pub(crate) struct Command {
    pub(crate) method: Ident,
    pub(crate) name: String,
    pub(crate) is_write: bool,
    pub(crate) help: Help,
    pub(crate) examples: Vec<String>,
    /// Whether its first parameter is the context.
    pub(crate) takes_context: bool,
    pub(crate) parameters: Vec<Parameter>,
}

/// A method with `#[wake]` or `#[migrate]`.
pub(crate) struct Handler {
    pub(crate) method: Ident,
    /// The parameters behind the context.
    pub(crate) parameters: Vec<Parameter>,
}

/// Which attribute a method has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Write,
    Read,
    Wake,
    Migrate,
    MigrateKey,
}

impl Methods {
    /// Reads an `impl` block and takes the attributes away.
    pub(crate) fn parse(block: &mut ItemImpl) -> Result<Self> {
        let mut methods = Self {
            owner: owner(block)?,
            commands: Vec::new(),
            wake: None,
            migrate: None,
            migrate_key: None,
        };
        let mut errors: Option<Error> = None;
        for item in &mut block.items {
            let ImplItem::Fn(method) = item else { continue };
            if let Err(error) = methods.read(method) {
                match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                }
            }
        }
        match errors {
            Some(errors) => Err(errors),
            None => Ok(methods),
        }
    }

    fn read(&mut self, method: &mut ImplItemFn) -> Result<()> {
        let Some((role, attribute)) = take_role(&mut method.attrs)? else {
            return Ok(());
        };
        check_signature(method)?;
        match role {
            Role::Write | Role::Read => {
                let command = Command::parse(method, role, &attribute)?;
                if let Some(other) = self.commands.iter().find(|one| one.name == command.name) {
                    return Err(Error::new(
                        method.sig.ident.span(),
                        format!(
                            "the method `{}` has the name `{}` already",
                            other.method, other.name
                        ),
                    ));
                }
                self.commands.push(command);
            }
            Role::MigrateKey => {
                attribute.meta.require_path_only()?;
                if self.migrate_key.is_some() {
                    return Err(Error::new_spanned(
                        &attribute,
                        "there is another one already",
                    ));
                }
                if method.sig.inputs.len() != 3 || method.sig.receiver().is_some() {
                    return Err(Error::new_spanned(
                        &method.sig,
                        "expected `(from_version: u32, key: Vec<u8>, value: Vec<u8>)`",
                    ));
                }
                self.migrate_key = Some(method.sig.ident.clone());
            }
            Role::Wake | Role::Migrate => {
                attribute.meta.require_path_only()?;
                let (slot, shapes) = if role == Role::Wake {
                    (&mut self.wake, ["(ctx)", "(ctx, id)", ""])
                } else {
                    let steps = "(ctx, from_version, cursor)";
                    (&mut self.migrate, ["", "(ctx, from_version)", steps])
                };
                if slot.is_some() {
                    return Err(Error::new_spanned(
                        &attribute,
                        "there is another one already",
                    ));
                }
                *slot = Some(Handler::parse(method, shapes)?);
            }
        }
        Ok(())
    }
}

impl Command {
    fn parse(method: &mut ImplItemFn, role: Role, attribute: &Attribute) -> Result<Self> {
        let ident = method.sig.ident.clone();
        let mut name = parameter::display_name(&ident);
        let mut examples = Vec::new();
        if !matches!(attribute.meta, syn::Meta::Path(_)) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    name = command_name(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("example") {
                    examples.push(meta.value()?.parse::<LitStr>()?.value());
                } else {
                    return Err(meta.error("expected `name = \"...\"` or `example = \"...\"`"));
                }
                Ok(())
            })?;
        }
        if name.contains(|char: char| char.is_ascii_uppercase()) {
            return Err(Error::new(
                ident.span(),
                "commands have lowercase names; callers may use any case",
            ));
        }
        let help = help::from_docs(&method.attrs);
        if help.summary.is_empty() {
            return Err(Error::new(
                ident.span(),
                "a command needs a doc comment: it is the command's help, its first paragraph \
                 the summary",
            ));
        }
        // As many as the command has arguments and flags.
        method.attrs.push(parse_quote!(#[allow(
            clippy::too_many_arguments,
            clippy::fn_params_excessive_bools,
            reason = "the parameters are the command's arguments"
        )]));
        let takes_context = takes_context(method, role)?;
        let parameters = parameters(method, usize::from(takes_context))?;
        parameter::check_order(&parameters)?;
        Ok(Self {
            method: ident,
            name,
            is_write: role == Role::Write,
            help,
            examples,
            takes_context,
            parameters,
        })
    }
}

impl Handler {
    /// `shapes` are the allowed parameter lists, by the number of parameters behind the context.
    fn parse(method: &mut ImplItemFn, shapes: [&str; 3]) -> Result<Self> {
        let count = method.sig.inputs.len();
        let fits = shapes
            .iter()
            .enumerate()
            .any(|(index, shape)| !shape.is_empty() && count == index + 1);
        if !fits || !takes_context(method, Role::Write)? {
            let wanted: Vec<&str> = shapes.into_iter().filter(|one| !one.is_empty()).collect();
            return Err(Error::new(
                method.sig.inputs.span(),
                format!("this method takes {}", wanted.join(" or ")),
            ));
        }
        Ok(Self {
            method: method.sig.ident.clone(),
            parameters: parameters(method, 1)?,
        })
    }
}

fn owner(block: &ItemImpl) -> Result<Ident> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(
            path,
            "commands are methods of a type, not of a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &block.generics,
            "the type of a plugin has no generic parameters",
        ));
    }
    match block.self_ty.as_ref() {
        Type::Path(TypePath { path, .. }) => path.get_ident().cloned(),
        _ => None,
    }
    .ok_or_else(|| Error::new_spanned(&block.self_ty, "expected a type of this module"))
}

/// Takes the attribute that gives a method its role off its attributes.
fn take_role(attributes: &mut Vec<Attribute>) -> Result<Option<(Role, Attribute)>> {
    let mut found: Option<(Role, Attribute)> = None;
    let mut kept = Vec::new();
    for attribute in attributes.drain(..) {
        match role(attribute.path()) {
            Some(_) if found.is_some() => {
                return Err(Error::new_spanned(
                    attribute,
                    "a method is one of write, read, wake, migrate and migrate_key",
                ));
            }
            Some(role) => found = Some((role, attribute)),
            None => kept.push(attribute),
        }
    }
    *attributes = kept;
    Ok(found)
}

fn role(path: &Path) -> Option<Role> {
    let name = path.segments.last()?.ident.to_string();
    match name.as_str() {
        "write" => Some(Role::Write),
        "read" => Some(Role::Read),
        "wake" => Some(Role::Wake),
        "migrate" => Some(Role::Migrate),
        "migrate_key" => Some(Role::MigrateKey),
        _ => None,
    }
}

fn check_signature(method: &ImplItemFn) -> Result<()> {
    let signature = &method.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new_spanned(
            token,
            "a command runs to its end at once; it cannot wait",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            "a command has no generic parameters: its arguments have one type each",
        ));
    }
    Ok(())
}

/// Whether the first parameter is the context, of a type that suits the method's role.
fn takes_context(method: &ImplItemFn, role: Role) -> Result<bool> {
    let Some(FnArg::Typed(first)) = method.sig.inputs.first() else {
        return Ok(false);
    };
    let target = match first.ty.as_ref() {
        Type::Reference(reference) => reference.elem.as_ref(),
        ty => ty,
    };
    let Type::Path(TypePath { path, .. }) = target else {
        return Ok(false);
    };
    let is_view = path.segments.last().is_some_and(|one| one.ident == "View");
    let is_context = path
        .segments
        .last()
        .is_some_and(|one| one.ident == "Context");
    if !is_view && !is_context {
        return Ok(false);
    }
    if !matches!(first.ty.as_ref(), Type::Reference(_)) {
        return Err(Error::new_spanned(
            &first.ty,
            "take it by reference: add `&`",
        ));
    }
    if role == Role::Read && is_context {
        return Err(Error::new_spanned(
            &first.ty,
            "a read command cannot write: it takes `&View`",
        ));
    }
    Ok(true)
}

fn parameters(method: &mut ImplItemFn, skip: usize) -> Result<Vec<Parameter>> {
    method
        .sig
        .inputs
        .iter_mut()
        .skip(skip)
        .enumerate()
        .map(|(index, argument)| Parameter::parse(index, argument))
        .collect()
}

fn command_name(literal: &LitStr) -> Result<String> {
    let name = literal.value();
    let fits = !name.is_empty()
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if fits {
        Ok(name)
    } else {
        Err(Error::new_spanned(
            literal,
            "a command's name is made of lowercase letters, digits, dashes and underscores",
        ))
    }
}
