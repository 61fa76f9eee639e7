//! What a source file says, as far as the rules of the house ask: paths, `unsafe`, conditions, macros, functions.
//!
//! It reads with proc-macro2's lexer, so that comments and text never count; `use` trees are spread out, and paths
//! that begin with `super` or `self` are resolved against the module they stand in.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One thing that a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A path of two segments or more, from its root: `crate::…` or another crate's name.
    Path(Vec<String>),
    /// The keyword.
    Unsafe,
    /// A word inside of `cfg(…)`, `cfg_attr(…)` or `cfg!(…)`.
    Condition(String),
    /// A macro that is called.
    Macro(String),
    /// A function that is defined.
    Function(String),
}

/// Every fact of a file with its line; `module` is the module that the file is.
pub(crate) fn facts(text: &str, module: &[String]) -> Result<Vec<(usize, Fact)>, String> {
    let stream: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| error.to_string())?;
    let mut reader = Reader { found: Vec::new() };
    reader.read(stream, module);
    Ok(reader.found)
}

struct Reader {
    found: Vec<(usize, Fact)>,
}

impl Reader {
    fn read(&mut self, stream: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let line = token.span().start().line;
            at += match token {
                TokenTree::Group(group) => {
                    self.read(group.stream(), module);
                    1
                }
                TokenTree::Ident(ident) => {
                    let rest = tokens.get(at + 1..).unwrap_or_default();
                    self.word(&ident.to_string(), line, rest, module)
                }
                _ => 1,
            };
        }
    }

    /// Reads from a word on; returns how many tokens that took.
    fn word(&mut self, word: &str, line: usize, rest: &[TokenTree], module: &[String]) -> usize {
        match (word, rest) {
            ("unsafe", _) => self.found.push((line, Fact::Unsafe)),
            ("fn", [TokenTree::Ident(name), ..]) => self.found.push((line, Fact::Function(name.to_string()))),
            ("mod", [TokenTree::Ident(name), TokenTree::Group(body), ..]) => {
                let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                self.read(body.stream(), &inner);
                return 3;
            }
            ("cfg" | "cfg_attr", [TokenTree::Group(group), ..]) => self.condition(group),
            ("cfg", [bang, TokenTree::Group(group), ..]) if is_punct(Some(bang), '!') => {
                self.condition(group)
            }
            (_, [bang, TokenTree::Group(_), ..]) if is_punct(Some(bang), '!') => {
                self.found.push((line, Fact::Macro(word.to_owned())));
            }
            _ if is_separator(rest) => return 1 + self.path(vec![word.to_owned()], rest, line, module),
            _ => {}
        }
        1
    }

    /// Reads `::` and what follows, after a first segment; returns how many tokens that took.
    fn path(&mut self, mut path: Vec<String>, rest: &[TokenTree], line: usize, module: &[String]) -> usize {
        let mut taken = 0;
        while let Some(rest) = rest.get(taken..).filter(|rest| is_separator(rest)) {
            match rest.get(2) {
                Some(TokenTree::Ident(ident)) => {
                    path.push(ident.to_string());
                    taken += 3;
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.tree(&path, group.clone(), module);
                    return taken + 3;
                }
                _ => {
                    taken += 2;
                    break;
                }
            }
        }
        if let Some(TokenTree::Punct(bang)) = rest.get(taken)
            && bang.as_char() == '!'
            && matches!(rest.get(taken + 1), Some(TokenTree::Group(_)))
        {
            self.found.extend(path.last().map(|name| (line, Fact::Macro(name.clone()))));
        }
        self.found.push((line, Fact::Path(resolved(&path, module))));
        taken
    }

    /// Reads the braces of a `use`: `{self, a, b::c as d}`.
    fn tree(&mut self, prefix: &[String], group: Group, module: &[String]) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        for item in tokens.split(|token| is_punct(Some(token), ',')) {
            if let [TokenTree::Ident(first), rest @ ..] = item {
                let line = first.span().start().line;
                let first = first.to_string();
                let mut path = prefix.to_vec();
                path.extend((first != "self").then_some(first));
                self.path(path, rest, line, module);
            }
        }
    }

    fn condition(&mut self, group: &Group) {
        for token in group.stream() {
            match token {
                TokenTree::Ident(word) => {
                    self.found.push((word.span().start().line, Fact::Condition(word.to_string())));
                }
                TokenTree::Group(group) => self.condition(&group),
                _ => {}
            }
        }
    }
}

/// A path from its root.
fn resolved(path: &[String], module: &[String]) -> Vec<String> {
    let mut base = module;
    let mut rest = path;
    let own = |word: &str| vec![word.to_owned()];
    match path.first().map(String::as_str) {
        Some("super" | "self") => {}
        _ => return path.to_vec(),
    }
    while let Some((head, tail)) = rest.split_first() {
        match head.as_str() {
            "super" => base = base.split_last().map_or(&[][..], |(_, outer)| outer),
            "self" => {}
            _ => break,
        }
        rest = tail;
    }
    [&own("crate")[..], base, rest].concat()
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether tokens begin with `::`.
fn is_separator(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.first(), ':') && is_punct(tokens.get(1), ':')
}
