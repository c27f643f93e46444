//! A command's help: its doc comment, and its usage line.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

use crate::parameter::{Parameter, Shape};

/// A doc comment as help.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Help {
    /// The first paragraph, on one line.
    pub(crate) summary: String,
    /// The rest.
    pub(crate) details: String,
}

/// Reads a doc comment; empty when there is none.
pub(crate) fn from_docs(attributes: &[Attribute]) -> Help {
    let text: Vec<String> = attributes.iter().filter_map(doc_text).collect();
    let lines: Vec<&str> = text
        .iter()
        .flat_map(|text| text.split('\n'))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .skip_while(|line| line.is_empty())
        .collect();
    let end = lines
        .iter()
        .position(|line| line.is_empty())
        .unwrap_or(lines.len());
    let (summary, details) = lines.split_at(end);
    Help {
        summary: summary.join(" "),
        details: details.join("\n").trim().to_owned(),
    }
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = &meta.value
    else {
        return None;
    };
    meta.path.is_ident("doc").then(|| text.value())
}

/// A usage line in the style of Redis: `set key value [EX seconds] [NX]`.
pub(crate) fn usage(command: &str, parameters: &[Parameter]) -> String {
    let mut usage = command.to_owned();
    for parameter in parameters {
        usage.push(' ');
        usage.push_str(&argument_usage(parameter));
    }
    usage
}

fn argument_usage(parameter: &Parameter) -> String {
    let name = &parameter.name;
    match &parameter.shape {
        Shape::Required => name.clone(),
        Shape::Optional => format!("[{name}]"),
        Shape::Repeated => format!("{name} [{name} ...]"),
        Shape::Groups(parts) => {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            let names = names.join(" ");
            format!("{names} [{names} ...]")
        }
        Shape::Keyword(keyword) => format!("[{keyword} {name}]"),
        Shape::Flag(keyword) => format!("[{keyword}]"),
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn help(summary: &str, details: &str) -> Help {
        Help {
            summary: summary.into(),
            details: details.into(),
        }
    }

    #[test]
    fn the_first_paragraph_is_the_summary() {
        let item: syn::ItemFn = parse_quote! {
            /// Sets a value,
            /// or removes it.
            ///
            /// Keeps spaces:
            ///     like these.
            ///
            /// And paragraphs.
            #[inline]
            fn set() {}
        };
        assert_eq!(
            from_docs(&item.attrs),
            help(
                "Sets a value, or removes it.",
                "Keeps spaces:\n    like these.\n\nAnd paragraphs."
            )
        );
    }

    #[test]
    fn block_comments_and_missing_ones() {
        let item: syn::ItemFn = parse_quote! {
            #[doc = "\n One.\n\n Two.\n"]
            fn set() {}
        };
        assert_eq!(from_docs(&item.attrs), help("One.", "Two."));
        assert_eq!(from_docs(&[]), Help::default());
    }
}
