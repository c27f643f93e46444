//! What `#[plugin]` and `#[commands]` write: tables, dispatch, exports.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, Ident, ItemImpl, LitStr, Result};

use crate::help;
use crate::methods::{Command, Handler, Methods};
use crate::parameter::Parameter;
use crate::plugin::Arguments;

/// Expands `#[plugin]`.
pub(crate) fn plugin(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let mut block = parse_block(item)?;
    let methods = Methods::parse(&mut block)?;
    let summary = help::from_docs(&block.attrs).summary;
    let owner = &methods.owner;
    let table = table(&methods);

    let name = literal_or_env(arguments.name.as_ref(), "CARGO_PKG_NAME");
    let version = literal_or_env(arguments.version.as_ref(), "CARGO_PKG_VERSION");
    let summary = match &arguments.summary {
        None if !summary.is_empty() => quote!(#summary),
        given => literal_or_env(given.as_ref(), "CARGO_PKG_DESCRIPTION"),
    };
    let state_version = arguments.state_version.as_ref();
    let state_version = state_version.map_or_else(|| quote!(1), |version| quote!(#version));
    let reads = &arguments.reads;
    let migrates = &arguments.migrates;
    if let Some(version) = migrates.first()
        && methods.migrate.is_none()
        && methods.migrate_key.is_none()
    {
        return Err(Error::new_spanned(
            version,
            "a method with #[migrate_key] or #[migrate] has to do this",
        ));
    }
    let errors = arguments.errors();
    let watched = &arguments.watched;
    let groups = &arguments.groups;
    let wake = methods.wake.as_ref().map(|handler| wake(owner, handler));
    let migrate = methods
        .migrate
        .as_ref()
        .map(|handler| migrate(owner, handler));
    let migrate_key = methods
        .migrate_key
        .as_ref()
        .map(|method| migrate_key(owner, method));
    let by_key = methods.migrate_key.is_some();

    Ok(quote! {
        #block

        const _: () = {
            use ::hostd_sdk::__private::*;

            #table

            impl Plugin for #owner {
                const INFO: PluginInfo = PluginInfo {
                    name: #name,
                    version: #version,
                    summary: #summary,
                    state_version: #state_version,
                    reads: &[#(#reads),*],
                    migrates: &[#(#migrates),*],
                    migrates_by_key: #by_key,
                    watched: &[#(#watched),*],
                    commands: &[
                        <#owner as Commands>::COMMANDS,
                        #(<#groups as Commands>::COMMANDS),*
                    ],
                };
                const ERRORS: Errors = #errors;

                fn apply(
                    ctx: &mut ::hostd_sdk::Context,
                    command: &str,
                    arguments: &mut Arguments,
                ) -> ::core::option::Option<::hostd_sdk::Result<Tokens>> {
                    let result = <#owner as Commands>::apply(ctx, command, arguments);
                    #(let result = match result {
                        ::core::option::Option::None => {
                            <#groups as Commands>::apply(ctx, command, arguments)
                        }
                        found => found,
                    };)*
                    result
                }

                fn query(
                    view: &::hostd_sdk::View,
                    command: &str,
                    arguments: &mut Arguments,
                ) -> ::core::option::Option<::hostd_sdk::Result<Tokens>> {
                    let result = <#owner as Commands>::query(view, command, arguments);
                    #(let result = match result {
                        ::core::option::Option::None => {
                            <#groups as Commands>::query(view, command, arguments)
                        }
                        found => found,
                    };)*
                    result
                }

                #wake
                #migrate

                #migrate_key
            }

            const INFO: &PluginInfo = &<#owner as Plugin>::INFO;
            ::core::assert!(
                is_plugin_name(INFO.name),
                "a plugin's name is a lowercase letter, then lowercase letters, digits and \
                 dashes; give it one with #[plugin(name = \"...\")]"
            );
            ::core::assert!(
                names_are_unique(INFO.commands),
                "two commands of the plugin have the same name"
            );
            exported::<#owner>();
        };

        #[cfg(target_arch = "wasm32")]
        ::hostd_sdk::__private::export_plugin!(#owner);
    })
}

/// Expands `#[commands]`.
pub(crate) fn commands(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "#[commands] takes no arguments",
        ));
    }
    let mut block = parse_block(item)?;
    let methods = Methods::parse(&mut block)?;
    if let Some(handler) = methods.wake.as_ref().or(methods.migrate.as_ref()) {
        return Err(Error::new(
            handler.method.span(),
            "this method belongs in the `impl` block with #[plugin]",
        ));
    }
    let table = table(&methods);
    Ok(quote! {
        #block

        const _: () = {
            use ::hostd_sdk::__private::*;

            #table
        };
    })
}

/// What the attribute says, else what cargo says about the package.
fn literal_or_env(literal: Option<&LitStr>, variable: &str) -> TokenStream {
    literal.map_or_else(
        || quote!(::core::env!(#variable)),
        |literal| quote!(#literal),
    )
}

fn parse_block(item: TokenStream) -> Result<ItemImpl> {
    syn::parse2(item.clone()).map_err(|_| {
        Error::new_spanned(
            item,
            "this attribute goes on an `impl` block, whose methods are the commands",
        )
    })
}

/// A block's commands: their constants, and the way from a name to a method.
fn table(methods: &Methods) -> TokenStream {
    let owner = &methods.owner;
    let commands = &methods.commands;
    let infos = commands.iter().map(info);
    let runners = commands
        .iter()
        .enumerate()
        .map(|(index, command)| runner(owner, index, command));
    let arms = |is_write: bool| {
        commands
            .iter()
            .enumerate()
            .filter(move |(_, command)| command.is_write == is_write)
            .map(|(index, command)| {
                let name = &command.name;
                let run = runner_name(index);
                quote!(#name => ::core::option::Option::Some(#run(ctx, arguments)),)
            })
    };
    let (write_arms, read_arms) = (arms(true), arms(false));
    quote! {
        #(#runners)*

        impl Commands for #owner {
            const COMMANDS: &'static [CommandInfo] = &[#(#infos),*];

            #[allow(unused_variables, reason = "a table may have no such commands")]
            fn apply(
                ctx: &mut ::hostd_sdk::Context,
                command: &str,
                arguments: &mut Arguments,
            ) -> ::core::option::Option<::hostd_sdk::Result<Tokens>> {
                match command {
                    #(#write_arms)*
                    _ => ::core::option::Option::None,
                }
            }

            #[allow(unused_variables, reason = "a table may have no such commands")]
            fn query(
                ctx: &::hostd_sdk::View,
                command: &str,
                arguments: &mut Arguments,
            ) -> ::core::option::Option<::hostd_sdk::Result<Tokens>> {
                match command {
                    #(#read_arms)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    }
}

/// A command's constants.
fn info(command: &Command) -> TokenStream {
    let Command {
        name,
        is_write,
        help,
        examples,
        parameters,
        ..
    } = command;
    let (summary, details) = (&help.summary, &help.details);
    let arguments = parameters.iter().flat_map(Parameter::describe);
    let usage = help::usage(name, parameters);
    quote! {
        CommandInfo {
            name: #name,
            is_write: #is_write,
            arguments: &[#(#arguments),*],
            summary: #summary,
            details: #details,
            examples: &[#(#examples),*],
            usage: #usage,
        }
    }
}

fn runner_name(index: usize) -> Ident {
    format_ident!("run_{index}")
}

/// A function that reads a command's arguments and calls its method.
fn runner(owner: &Ident, index: usize, command: &Command) -> TokenStream {
    let run = runner_name(index);
    let method = &command.method;
    let parameters = &command.parameters;
    let keywords: Vec<&str> = parameters.iter().filter_map(Parameter::keyword).collect();
    let take = parameters.iter().map(|one| one.take(&keywords));
    let rest = if keywords.is_empty() {
        quote!(input.finish()?;)
    } else {
        let branches = parameters.iter().filter_map(|one| {
            let keyword = one.keyword()?;
            let take = one.take_keyword();
            Some(quote!(if is_keyword(&word, #keyword) { #take } else))
        });
        quote! {
            while let ::core::option::Option::Some(word) = input.word() {
                #(#branches)* {
                    return ::core::result::Result::Err(input.bad_syntax());
                }
            }
        }
    };
    let context = if command.is_write {
        quote!(&mut ::hostd_sdk::Context)
    } else {
        quote!(&::hostd_sdk::View)
    };
    let pass = parameters.iter().map(Parameter::pass);
    let pass_context = command.takes_context.then(|| quote!(ctx,));
    // The method's own span: a reply of a type that is none is an error there.
    let call = quote_spanned! { method.span() =>
        finish(#owner::#method(#pass_context #(#pass),*))
    };
    quote! {
        #[allow(unused_variables, clippy::unnecessary_mut_passed, reason = "a method may want less")]
        fn #run(ctx: #context, input: &mut Arguments) -> ::hostd_sdk::Result<Tokens> {
            input.begin(&<#owner as Commands>::COMMANDS[#index]);
            #(#take)*
            #rest
            #call
        }
    }
}

/// The override of `Plugin::wake`.
fn wake(owner: &Ident, handler: &Handler) -> TokenStream {
    let method = &handler.method;
    let id = handler.parameters.iter().map(|parameter| {
        let Parameter {
            variable, element, ..
        } = parameter;
        quote!(let #variable = wake_id::<#element>(id);)
    });
    let pass = handler.parameters.iter().map(Parameter::pass);
    quote! {
        #[allow(unused_variables, clippy::unnecessary_mut_passed, reason = "a method may want less")]
        fn wake(
            ctx: &mut ::hostd_sdk::Context,
            id: ::std::vec::Vec<u8>,
        ) -> ::hostd_sdk::Result<()> {
            #(#id)*
            Unit::into_outcome(#owner::#method(ctx, #(#pass),*))
        }
    }
}

/// The override of `Plugin::migrate`.
fn migrate(owner: &Ident, handler: &Handler) -> TokenStream {
    let method = &handler.method;
    let names = handler.parameters.iter().zip(["from_version", "cursor"]);
    let bind = names.map(|(parameter, given)| {
        let variable = &parameter.variable;
        let given = format_ident!("{given}");
        quote!(let #variable = #given;)
    });
    let pass = handler.parameters.iter().map(Parameter::pass);
    quote! {
        #[allow(unused_variables, clippy::unnecessary_mut_passed, reason = "a method may want less")]
        fn migrate(
            ctx: &mut ::hostd_sdk::Context,
            from_version: u32,
            cursor: ::std::vec::Vec<u8>,
        ) -> ::hostd_sdk::Result<::core::option::Option<::std::vec::Vec<u8>>> {
            #(#bind)*
            Migrated::into_outcome(#owner::#method(ctx, #(#pass),*))
        }
    }
}

/// The override of `Plugin::migrate_key`.
fn migrate_key(owner: &Ident, method: &Ident) -> TokenStream {
    quote! {
        fn migrate_key(
            from_version: u32,
            key: ::std::vec::Vec<u8>,
            value: ::std::vec::Vec<u8>,
        ) -> ::hostd_sdk::Result<::std::vec::Vec<(::std::vec::Vec<u8>, ::std::vec::Vec<u8>)>> {
            MigratedKey::into_outcome(#owner::#method(from_version, key, value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: TokenStream) -> String {
        plugin(TokenStream::new(), item)
            .expect_err("it has a mistake")
            .to_string()
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(
            error(quote!(
                struct Plugin;
            ))
            .contains("`impl` block")
        );
        assert!(error(quote!(impl Trait for Plugin {})).contains("not of a trait"));
        assert!(
            error(quote!(
                impl<T> Plugin<T> {}
            ))
            .contains("generic")
        );
        let method = |method: TokenStream| error(quote!(impl Plugin { #method }));
        assert!(
            method(quote!(
                #[write]
                fn set() {}
            ))
            .contains("doc comment")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read]
                fn get(ctx: &Context) {}
            ))
            .contains("takes `&View`")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read]
                fn get(v: View) {}
            ))
            .contains("add `&`")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read]
                async fn get() {}
            ))
            .contains("cannot wait")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read]
                fn get<T>(a: T) {}
            ))
            .contains("generic")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read]
                #[write]
                fn get() {}
            ))
            .contains("one of")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read(nmae = "x")]
                fn get() {}
            ))
            .contains("expected")
        );
        assert!(
            method(quote!(
                #[doc = "x"]
                #[read(name = "X")]
                fn get() {}
            ))
            .contains("lowercase")
        );
        assert!(
            method(quote!(
                #[wake]
                fn wake(id: &[u8]) {}
            ))
            .contains("(ctx, id)")
        );
        assert!(
            method(quote!(
                #[migrate]
                fn migrate(ctx: &Context) {}
            ))
            .contains("from_version")
        );
        assert!(
            method(quote! {
                #[doc = "x"] #[read] fn get() {}
                #[doc = "x"] #[read(name = "get")] fn other() {}
            })
            .contains("already")
        );
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let errors = plugin(
            TokenStream::new(),
            quote!(impl Plugin { #[write] fn a() {} #[write] fn b() {} }),
        );
        assert_eq!(errors.unwrap_err().into_iter().count(), 2);
    }

    #[test]
    fn arguments_of_the_attribute() {
        let with = |arguments| plugin(arguments, quote!(impl Plugin {}));
        assert!(with(quote!(name = "x", reads = [1, 2], state_version = 3)).is_ok());
        assert!(with(quote!(groups = [a::B, C], errors = "redis")).is_ok());
        assert!(with(quote!(errors = "loud")).is_err());
        assert!(with(quote!(nmae = "x")).is_err());
    }

    #[test]
    fn handlers_stay_with_the_plugin() {
        let group = commands(
            TokenStream::new(),
            quote!(impl Group { #[wake] fn wake(ctx: &Context) {} }),
        );
        assert!(group.unwrap_err().to_string().contains("#[plugin]"));
    }
}
