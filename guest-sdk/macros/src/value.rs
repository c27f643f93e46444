//! `#[derive(StateValue)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, Member, Result};

pub(crate) fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let ident = &input.ident;
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a value in the state has one type: no generic parameters",
        ));
    }
    let (encode, decode) = match &input.data {
        Data::Struct(data) => {
            let bindings = bindings(&data.fields);
            let pattern = pattern(&data.fields, &bindings);
            let decode = decode(quote!(Self), &data.fields);
            (
                quote! {
                    let Self #pattern = self;
                    #(EncodeValue::encode_value(#bindings, out);)*
                },
                quote!(::core::option::Option::Some(#decode)),
            )
        }
        Data::Enum(data) => {
            if data.variants.len() > 256 {
                return Err(Error::new_spanned(ident, "at most 256 variants"));
            }
            let numbered = || data.variants.iter().zip(0u8..=u8::MAX);
            let encode = numbered().map(|(variant, number)| {
                let name = &variant.ident;
                let bindings = bindings(&variant.fields);
                let pattern = pattern(&variant.fields, &bindings);
                quote! {
                    Self::#name #pattern => {
                        out.push(#number);
                        #(EncodeValue::encode_value(#bindings, out);)*
                    }
                }
            });
            let decode = numbered().map(|(variant, number)| {
                let name = &variant.ident;
                let value = decode(quote!(Self::#name), &variant.fields);
                quote!(#number => ::core::option::Option::Some(#value),)
            });
            (
                quote!(match self { #(#encode)* }),
                quote! {
                    let (variant, rest) = input.split_first()?;
                    *input = rest;
                    match *variant {
                        #(#decode)*
                        _ => ::core::option::Option::None,
                    }
                },
            )
        }
        Data::Union(_) => {
            return Err(Error::new_spanned(ident, "a union cannot be read back"));
        }
    };
    Ok(quote! {
        const _: () = {
            use ::hostd_sdk::__private::{EncodeValue, StateValue};

            impl EncodeValue for #ident {
                fn encode_value(&self, out: &mut ::std::vec::Vec<u8>) {
                    #encode
                }
            }

            impl StateValue for #ident {
                fn decode_value(input: &mut &[u8]) -> ::core::option::Option<Self> {
                    #decode
                }
            }
        };
    })
}

/// A name for each field.
fn bindings(fields: &Fields) -> Vec<Ident> {
    (0..fields.len())
        .map(|index| format_ident!("field_{index}"))
        .collect()
}

/// A pattern that gives the fields these names.
fn pattern(fields: &Fields, bindings: &[Ident]) -> TokenStream {
    let members = members(fields);
    quote!({ #(#members: #bindings),* })
}

/// An expression that reads the fields in order.
fn decode(constructor: TokenStream, fields: &Fields) -> TokenStream {
    let members = members(fields);
    quote!(#constructor { #(#members: StateValue::decode_value(input)?),* })
}

fn members(fields: &Fields) -> Vec<Member> {
    fields.members().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_and_enums_of_every_form() {
        for item in [
            quote!(
                struct Unit;
            ),
            quote!(
                struct Pair(u32, String);
            ),
            quote!(
                struct Named {
                    a: u32,
                }
            ),
            quote!(
                enum Choice {
                    A,
                    B(u32),
                    C { d: String },
                }
            ),
        ] {
            assert!(derive(item).is_ok());
        }
        assert!(derive(quote!(union Either { a: u32, b: f32 })).is_err());
        assert!(
            derive(quote!(
                struct Generic<T>(T);
            ))
            .is_err()
        );
    }
}
