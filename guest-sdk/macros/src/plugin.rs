//! The arguments of `#[plugin]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprArray, LitInt, LitStr, Path, Result, Token, bracketed};

/// The arguments of `#[plugin]`, checked as far as their text goes.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) summary: Option<LitStr>,
    pub(crate) groups: Vec<Path>,
    pub(crate) state_version: Option<LitInt>,
    pub(crate) reads: Vec<Expr>,
    pub(crate) migrates: Vec<Expr>,
    pub(crate) watched: Vec<Expr>,
    pub(crate) redis_errors: bool,
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut arguments = Self::default();
        syn::meta::parser(|meta| arguments.read(&meta)).parse2(tokens)?;
        Ok(arguments)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let path = &meta.path;
        if path.is_ident("name") {
            self.name = Some(meta.value()?.parse()?);
        } else if path.is_ident("version") {
            self.version = Some(meta.value()?.parse()?);
        } else if path.is_ident("summary") {
            self.summary = Some(meta.value()?.parse()?);
        } else if path.is_ident("groups") {
            let list;
            let value = meta.value()?;
            bracketed!(list in value);
            let paths =
                Punctuated::<Path, Token![,]>::parse_terminated_with(&list, Path::parse_mod_style)?;
            self.groups = paths.into_iter().collect();
        } else if path.is_ident("state_version") {
            self.state_version = Some(meta.value()?.parse()?);
        } else if path.is_ident("reads") {
            let list: ExprArray = meta.value()?.parse()?;
            self.reads = list.elems.into_iter().collect();
        } else if path.is_ident("migrates") {
            let list: ExprArray = meta.value()?.parse()?;
            self.migrates = list.elems.into_iter().collect();
        } else if path.is_ident("watched") {
            let list: ExprArray = meta.value()?.parse()?;
            self.watched = list.elems.into_iter().collect();
        } else if path.is_ident("errors") {
            let wording: LitStr = meta.value()?.parse()?;
            self.redis_errors = match wording.value().as_str() {
                "redis" => true,
                "plain" => false,
                _ => {
                    return Err(Error::new_spanned(
                        wording,
                        "expected \"plain\" or \"redis\"",
                    ));
                }
            };
        } else {
            return Err(meta.error(
                "expected name, version, summary, groups, state_version, reads, migrates, watched or errors",
            ));
        }
        Ok(())
    }

    /// The wording of refusals.
    pub(crate) fn errors(&self) -> TokenStream {
        if self.redis_errors {
            quote!(Errors::Redis)
        } else {
            quote!(Errors::Plain)
        }
    }
}
