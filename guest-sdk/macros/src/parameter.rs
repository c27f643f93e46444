//! A method's parameter, read as an argument of its command.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, LitStr, Pat, PatType, PathArguments, Result,
    Token, Type,
};

/// One argument of a command.
pub(crate) struct Parameter {
    /// The variable that holds it before the call. Not the parameter's name, which could be that
    /// of another variable of the expansion.
    pub(crate) variable: Ident,
    /// What callers see.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// The type that one argument is read as; that of `#[flag]` is `bool`.
    pub(crate) element: Type,
    /// Whether the method takes it by reference.
    by_reference: ByReference,
    /// `#[key]`.
    pub(crate) is_key: bool,
    /// `#[secret]`.
    secret: bool,
    pub(crate) span: Span,
}

/// How often and where an argument may stand.
#[derive(Clone)]
pub(crate) enum Shape {
    Required,
    Optional,
    Repeated,
    /// Several in turn: the parts of a `Vec` of tuples.
    Groups(Vec<Part>),
    Keyword(String),
    Flag(String),
}

/// One of the arguments that alternate.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) element: Type,
}

/// What of a parameter is a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByReference {
    No,
    /// `&str`, `&[Key]`.
    Whole,
    /// `Option<&str>`.
    Inside,
}

/// `#[key]`, `#[secret]`, `#[keyword("EX")]`, `#[flag("NX")]`, `#[names("key", "value")]`.
#[derive(Default)]
struct Marks {
    key: Option<Span>,
    secret: Option<Span>,
    keyword: Option<LitStr>,
    flag: Option<LitStr>,
    names: Option<(Span, Vec<LitStr>)>,
}

impl Parameter {
    /// Reads the parameter at `index` and takes its attributes away.
    pub(crate) fn parse(index: usize, argument: &mut FnArg) -> Result<Self> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = argument else {
            return Err(Error::new_spanned(
                argument,
                "commands have no `self`: nothing in memory lasts from one command to the next; \
                 keep state through `ctx`",
            ));
        };
        let Pat::Ident(pattern) = pat.as_ref() else {
            return Err(Error::new_spanned(
                pat,
                "an argument needs a plain name, which callers see",
            ));
        };
        let marks = Marks::take(attrs)?;
        let name = display_name(&pattern.ident);
        let mut parameter = Self {
            variable: format_ident!("argument_{index}"),
            name,
            shape: Shape::Required,
            element: ty.as_ref().clone(),
            by_reference: ByReference::No,
            is_key: marks.key.is_some(),
            secret: marks.secret.is_some(),
            span: ty.span(),
        };
        parameter.read_type(ty)?;
        parameter.read_marks(marks)?;
        Ok(parameter)
    }

    /// Finds the shape in the type: `Option`, `Vec`, a slice, a reference.
    fn read_type(&mut self, ty: &Type) -> Result<()> {
        if let Type::Reference(reference) = ty {
            if reference.mutability.is_some() {
                return Err(Error::new_spanned(ty, "an argument cannot be `&mut`"));
            }
            self.by_reference = ByReference::Whole;
            match reference.elem.as_ref() {
                Type::Slice(slice) if !is_named(&slice.elem, "u8") => {
                    self.read_items(&slice.elem)?;
                }
                target => self.element = owned(target),
            }
        } else if let Some(inner) = generic_argument(ty, "Option") {
            self.shape = Shape::Optional;
            match inner {
                Type::Reference(reference) => {
                    self.by_reference = ByReference::Inside;
                    self.element = owned(&reference.elem);
                }
                inner => self.element = inner.clone(),
            }
            if generic_argument(&self.element, "Option").is_some() {
                return Err(Error::new_spanned(ty, "one `Option` is enough"));
            }
        } else if let Some(inner) = generic_argument(ty, "Vec").filter(|ty| !is_named(ty, "u8")) {
            self.read_items(inner)?;
        }
        if is_items(&self.element) {
            return Err(Error::new_spanned(
                ty,
                "arguments can be left out (`Option<T>`) or repeated (`Vec<T>`), not both: an \
                 argument that may come zero or more times is no shape that callers know",
            ));
        }
        if is_named(&self.element, "bool") {
            // Only `#[flag]` makes sense of it, and replaces the shape.
            self.shape = Shape::Flag(String::new());
        }
        Ok(())
    }

    fn read_items(&mut self, item: &Type) -> Result<()> {
        self.element = item.clone();
        self.shape = Shape::Repeated;
        if let Type::Tuple(tuple) = item {
            if !(2..=3).contains(&tuple.elems.len()) {
                return Err(Error::new_spanned(
                    tuple,
                    "groups have two or three arguments",
                ));
            }
            let part = |element: &Type| Part {
                name: String::new(),
                element: element.clone(),
            };
            self.shape = Shape::Groups(tuple.elems.iter().map(part).collect());
        }
        Ok(())
    }

    fn read_marks(&mut self, marks: Marks) -> Result<()> {
        if let Some(keyword) = &marks.keyword {
            if !matches!(self.shape, Shape::Optional) {
                return Err(Error::new(
                    self.span,
                    "a keyword argument can be left out: its type is `Option<T>`",
                ));
            }
            self.shape = Shape::Keyword(keyword_text(keyword)?);
        }
        if let Some(keyword) = &marks.flag {
            if !matches!(self.shape, Shape::Flag(_)) {
                return Err(Error::new(
                    self.span,
                    "a flag is there or not: its type is `bool`",
                ));
            }
            self.shape = Shape::Flag(keyword_text(keyword)?);
        }
        if matches!(&self.shape, Shape::Flag(keyword) if keyword.is_empty()) {
            return Err(Error::new(
                self.span,
                "a `bool` is given by a flag: add #[flag(\"NAME\")]",
            ));
        }
        if let (Shape::Keyword(_), Some(flag)) = (&self.shape, &marks.flag) {
            return Err(Error::new_spanned(flag, "either a keyword or a flag"));
        }
        if let (Shape::Flag(_), Some(span)) = (&self.shape, marks.secret) {
            return Err(Error::new(span, "a flag has no value that could be secret"));
        }
        match (&mut self.shape, marks.names) {
            (Shape::Groups(parts), Some((_, names))) if parts.len() == names.len() => {
                for (part, name) in parts.iter_mut().zip(names) {
                    part.name = name.value();
                }
            }
            (Shape::Groups(parts), names) => {
                return Err(Error::new(
                    names.map_or(self.span, |(span, _)| span),
                    format!(
                        "callers see a name for each of the {} arguments: \
                         #[names(\"key\", \"value\")]",
                        parts.len()
                    ),
                ));
            }
            (_, Some((span, _))) => {
                return Err(Error::new(
                    span,
                    "#[names] is for a `Vec` of tuples; an argument is named as the parameter is",
                ));
            }
            (_, None) => {}
        }
        match (&self.shape, marks.key) {
            (Shape::Groups(_), Some(span)) => Err(Error::new(
                span,
                "say which of them is a key by its type: `Vec<(Key, ...)>`",
            )),
            (Shape::Flag(_), Some(span)) => Err(Error::new(span, "a flag is no key")),
            _ => Ok(()),
        }
    }

    /// The keyword that announces it.
    pub(crate) fn keyword(&self) -> Option<&str> {
        match &self.shape {
            Shape::Keyword(keyword) | Shape::Flag(keyword) => Some(keyword),
            _ => None,
        }
    }

    /// Its entries in the command's table.
    pub(crate) fn describe(&self) -> Vec<TokenStream> {
        let Self {
            name,
            element,
            is_key,
            secret,
            ..
        } = self;
        let kind = match &self.shape {
            Shape::Required => quote!(Required),
            Shape::Optional => quote!(Optional),
            Shape::Repeated => quote!(Repeated),
            Shape::Keyword(keyword) => quote!(Keyword(#keyword)),
            Shape::Flag(keyword) => {
                return vec![quote! {
                    ArgumentInfo {
                        name: #name,
                        kind: Kind::Flag(#keyword),
                        value: ArgumentType::Text,
                        is_key: false,
                        secret: false,
                    }
                }];
            }
            Shape::Groups(parts) => {
                return parts
                    .iter()
                    .map(|Part { name, element }| {
                        let marks = (false, *secret);
                        describe_one(name, element, marks, quote!(Repeated), self.span)
                    })
                    .collect();
            }
        };
        let marks = (*is_key, *secret);
        vec![describe_one(name, element, marks, kind, self.span)]
    }

    /// Statements that take it off the front of `input`.
    pub(crate) fn take(&self, keywords: &[&str]) -> TokenStream {
        let Self {
            variable,
            name,
            element,
            ..
        } = self;
        match &self.shape {
            Shape::Required => quote_spanned! { self.span =>
                let #variable = input.required::<#element>(#name)?;
            },
            Shape::Optional => quote_spanned! { self.span =>
                let #variable = input.optional::<#element>(#name, &[#(#keywords),*])?;
            },
            Shape::Repeated => quote_spanned! { self.span =>
                let #variable = input.repeated::<#element>(#name)?;
            },
            Shape::Groups(parts) => {
                let names = parts.iter().map(|part| &part.name);
                quote_spanned! { self.span =>
                    let #variable = input.groups::<#element>([#(#names),*])?;
                }
            }
            Shape::Keyword(_) => quote_spanned! { self.span =>
                let mut #variable: ::core::option::Option<#element> = ::core::option::Option::None;
            },
            Shape::Flag(_) => quote_spanned! { self.span => let mut #variable: bool = false; },
        }
    }

    /// What to do when its keyword was read.
    pub(crate) fn take_keyword(&self) -> TokenStream {
        let Self { variable, name, .. } = self;
        if matches!(self.shape, Shape::Flag(_)) {
            quote!(input.flag(&mut #variable)?;)
        } else {
            quote!(input.keyword(&mut #variable, #name)?;)
        }
    }

    /// How it is given to the method.
    pub(crate) fn pass(&self) -> TokenStream {
        let variable = &self.variable;
        let element = &self.element;
        match self.by_reference {
            ByReference::No => quote!(#variable),
            ByReference::Whole => quote!(&#variable),
            ByReference::Inside if is_named(element, "String") || is_bytes(element) => {
                quote!(#variable.as_deref())
            }
            ByReference::Inside => quote!(#variable.as_ref()),
        }
    }
}

/// Checks that the arguments come in an order that a call can be read in.
pub(crate) fn check_order(parameters: &[Parameter]) -> Result<()> {
    let has_keywords = parameters.iter().any(|one| one.keyword().is_some());
    let mut optional = false;
    let mut repeated = false;
    let mut keyword = false;
    for parameter in parameters {
        let complain = |message: &str| Err(Error::new(parameter.span, message));
        match &parameter.shape {
            Shape::Keyword(_) | Shape::Flag(_) => keyword = true,
            _ if keyword => return complain("keywords and flags come after all other arguments"),
            _ if repeated => return complain("nothing can follow a repeated argument"),
            Shape::Required if optional => {
                return complain("an argument that must be there cannot follow one that may not");
            }
            Shape::Required => {}
            Shape::Optional => optional = true,
            Shape::Repeated | Shape::Groups(_) if optional => {
                return complain("a repeated argument cannot follow one that may be left out");
            }
            Shape::Repeated | Shape::Groups(_) if has_keywords => {
                return complain(
                    "a command with a repeated argument has no keywords: nobody could tell an \
                     item from a keyword",
                );
            }
            Shape::Repeated | Shape::Groups(_) => repeated = true,
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for parameter in parameters {
        if let Some(keyword) = parameter.keyword() {
            if seen.contains(&keyword) {
                return Err(Error::new(
                    parameter.span,
                    format!("another argument has the keyword {keyword}"),
                ));
            }
            seen.push(keyword);
        }
    }
    Ok(())
}

impl Marks {
    fn take(attributes: &mut Vec<Attribute>) -> Result<Self> {
        let mut marks = Self::default();
        let mut kept = Vec::new();
        for attribute in attributes.drain(..) {
            let path = attribute.path();
            if path.is_ident("key") {
                attribute.meta.require_path_only()?;
                marks.key = Some(attribute.span());
            } else if path.is_ident("secret") {
                attribute.meta.require_path_only()?;
                marks.secret = Some(attribute.span());
            } else if path.is_ident("keyword") {
                marks.keyword = Some(attribute.parse_args()?);
            } else if path.is_ident("flag") {
                marks.flag = Some(attribute.parse_args()?);
            } else if path.is_ident("names") {
                let names =
                    attribute.parse_args_with(Punctuated::<LitStr, Token![,]>::parse_terminated)?;
                marks.names = Some((attribute.span(), names.into_iter().collect()));
            } else {
                kept.push(attribute);
            }
        }
        *attributes = kept;
        Ok(marks)
    }
}

fn describe_one(
    name: &str,
    element: &Type,
    (is_key, secret): (bool, bool),
    kind: TokenStream,
    span: Span,
) -> TokenStream {
    let element = quote_spanned!(span=> <#element as ::hostd_sdk::Argument>);
    quote! {
        ArgumentInfo {
            name: #name,
            kind: Kind::#kind,
            value: #element::TYPE,
            is_key: #is_key || #element::IS_KEY,
            secret: #secret,
        }
    }
}

/// What callers see of a name in the code: `unix-time` of `unix_time`.
pub(crate) fn display_name(ident: &Ident) -> String {
    let name = ident.to_string();
    let name = name.trim_start_matches("r#").trim_matches('_');
    name.replace('_', "-")
}

fn keyword_text(keyword: &LitStr) -> Result<String> {
    let text = keyword.value();
    if text.is_empty() || text.chars().any(char::is_whitespace) {
        return Err(Error::new_spanned(keyword, "a keyword is one word"));
    }
    Ok(text)
}

/// The type that owns what a reference points to.
fn owned(target: &Type) -> Type {
    match target {
        Type::Slice(slice) => {
            let item = &slice.elem;
            syn::parse_quote!(::std::vec::Vec<#item>)
        }
        target if is_named(target, "str") => syn::parse_quote!(::std::string::String),
        target => target.clone(),
    }
}

/// Whether a type is `name`, however its path begins.
fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last()
        .is_some_and(|last| last.ident == name && last.arguments.is_empty()))
}

fn is_bytes(ty: &Type) -> bool {
    generic_argument(ty, "Vec").is_some_and(|item| is_named(item, "u8"))
}

/// Whether a type is a `Vec` or slice of something other than bytes.
fn is_items(ty: &Type) -> bool {
    match ty {
        Type::Slice(_) => true,
        ty => generic_argument(ty, "Vec").is_some_and(|item| !is_named(item, "u8")),
    }
}

/// `T` of a `wrapper<T>`.
fn generic_argument<'ty>(ty: &'ty Type, wrapper: &str) -> Option<&'ty Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    if last.ident != wrapper || arguments.args.len() != 1 {
        return None;
    }
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn parse(mut argument: FnArg) -> Result<Parameter> {
        Parameter::parse(0, &mut argument)
    }

    fn usage(arguments: Vec<FnArg>) -> Result<String> {
        let parameters = arguments
            .into_iter()
            .map(parse)
            .collect::<Result<Vec<_>>>()?;
        check_order(&parameters)?;
        Ok(crate::help::usage("c", &parameters))
    }

    fn error(arguments: Vec<FnArg>) -> String {
        usage(arguments).expect_err("it has a mistake").to_string()
    }

    #[test]
    fn types_and_attributes_give_the_shape() {
        let usage = usage(vec![
            parse_quote!(key: Key),
            parse_quote!(value: &[u8]),
            parse_quote!(r#type: Option<&str>),
            parse_quote!(#[keyword("EX")] in_seconds: Option<i64>),
            parse_quote!(#[flag("NX")] only_new: bool),
        ]);
        assert_eq!(usage.unwrap(), "c key value [type] [EX in-seconds] [NX]");
    }

    #[test]
    fn repeated_arguments() {
        assert_eq!(
            usage(vec![parse_quote!(keys: Vec<Key>)]).unwrap(),
            "c keys [keys ...]"
        );
        assert_eq!(
            usage(vec![parse_quote!(keys: &[Key])]).unwrap(),
            "c keys [keys ...]"
        );
        assert_eq!(
            usage(vec![
                parse_quote!(#[names("key", "value")] pairs: Vec<(Key, Vec<u8>)>)
            ])
            .unwrap(),
            "c key value [key value ...]"
        );
        assert_eq!(usage(vec![parse_quote!(b: Vec<u8>)]).unwrap(), "c b");
    }

    #[test]
    fn parameters_are_passed_as_the_method_takes_them() {
        let pass = |argument| parse(argument).unwrap().pass().to_string();
        assert_eq!(pass(parse_quote!(a: String)), "argument_0");
        assert_eq!(pass(parse_quote!(a: &str)), "& argument_0");
        assert_eq!(pass(parse_quote!(a: &[Key])), "& argument_0");
        assert_eq!(
            pass(parse_quote!(a: Option<&str>)),
            "argument_0 . as_deref ()"
        );
        assert_eq!(
            pass(parse_quote!(a: Option<&[u8]>)),
            "argument_0 . as_deref ()"
        );
        assert_eq!(
            pass(parse_quote!(a: Option<&Key>)),
            "argument_0 . as_ref ()"
        );
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(error(vec![parse_quote!(&self)]).contains("no `self`"));
        assert!(error(vec![parse_quote!((a, b): (i64, i64))]).contains("plain name"));
        assert!(error(vec![parse_quote!(nx: bool)]).contains("#[flag("));
        assert!(error(vec![parse_quote!(#[flag("NX")] nx: i64)]).contains("`bool`"));
        assert!(error(vec![parse_quote!(#[keyword("EX")] s: i64)]).contains("Option<T>"));
        assert!(error(vec![parse_quote!(#[keyword("A B")] s: Option<i64>)]).contains("one word"));
        assert!(error(vec![parse_quote!(pairs: Vec<(Key, i64)>)]).contains("#[names("));
        assert!(
            error(vec![parse_quote!(#[names("argument_0")] k: Key)]).contains("`Vec` of tuples")
        );
        assert!(error(vec![parse_quote!(x: Option<Vec<i64>>)]).contains("not both"));
        assert!(error(vec![parse_quote!(x: Vec<Vec<i64>>)]).contains("not both"));
        assert!(error(vec![parse_quote!(x: &mut i64)]).contains("&mut"));
    }

    #[test]
    fn the_order_must_be_readable() {
        let optional: FnArg = parse_quote!(a: Option<i64>);
        let required: FnArg = parse_quote!(b: i64);
        let repeated: FnArg = parse_quote!(c: Vec<i64>);
        let flag: FnArg = parse_quote!(#[flag("D")] d: bool);
        let check = |arguments: &[&FnArg]| error(arguments.iter().copied().cloned().collect());
        assert!(check(&[&optional, &required]).contains("cannot follow"));
        assert!(check(&[&repeated, &required]).contains("nothing can follow"));
        assert!(check(&[&optional, &repeated]).contains("left out"));
        assert!(check(&[&flag, &required]).contains("keywords and flags"));
        assert!(check(&[&repeated, &flag]).contains("no keywords"));
        assert!(check(&[&flag, &flag]).contains("another argument"));
    }
}
