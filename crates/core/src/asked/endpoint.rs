//! Endpoints in a line of foreign text: a number is a port only for what stands around it.
//!
//! `10.0.0.1:80`, `[::1]:80`, `:80`, `*:80`, `localhost:80`, `http://+:80/`, `:::80` and (in Node's own form alone)
//! `::1:80`; `port 80` in many spellings and languages; `('::', 80)`; `10.0.0.1#53`; `http-nio-8080`;
//! `[9300-9400]` after an address; `<ipv4> 1433]`; `/dev/tcp/localhost/80`. Times, file positions, pids, versions and codes have none of
//! these shapes, or are told apart by what precedes or follows them.

use std::net::IpAddr;

use super::scan::{self, Number};
use crate::port::Port;
use crate::socket::Transport;

/// The host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Every address, or none named.
    Any,
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

/// An endpoint found in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Host,
    pub(super) port: Port,
    /// TCP or UDP where the line tells.
    pub(super) transport: Option<Transport>,
    /// What its neighbourhood says of it.
    pub(super) role: Role,
}

/// How near to the matter an endpoint stands, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Right after the call: `dial tcp 10.0.0.1:443`.
    Named,
    /// Anywhere.
    Usual,
    /// This side of a connection, a client, a header.
    Aside,
}

/// Every endpoint of a line, from left to right.
pub(super) fn places(line: &str) -> Vec<Place> {
    let node = ["listen E", "connect E", "bind E"].iter().any(|form| line.contains(form));
    scan::numbers(line).filter_map(|number| place(&number, node)).collect()
}

fn place(number: &Number<'_>, node: bool) -> Option<Place> {
    let port = Port::new(u16::try_from(number.value).ok()?)?;
    if !number.stands_alone() {
        return None;
    }
    let host = by_port_word(number).or_else(|| match number.before.chars().next_back()? {
        ':' => by_colon(number, node),
        '[' => by_bracketed_range(number),
        '#' => scan::address(scan::split_host(number.before.strip_suffix('#')?).1).map(Host::Address),
        '-' => by_connector(number),
        '/' => by_device(number),
        // kubectl: `requested ports: [{8080 80}]`, local first.
        '{' => number.before.ends_with("ports: [{").then_some(Host::Any),
        _ => by_tuple(number).or_else(|| by_family_tag(number)),
    })?;
    Some(Place { host, port, transport: transport(number), role: role(number) })
}

/// What stands before and after an endpoint says of it.
fn role(number: &Number<'_>) -> Role {
    const BESIDE: &[&str] = &["client:", "host:", "local", "source", "src", "local port", "source port"];
    let (before, _) = scan::split_host(number.before.trim_end_matches(':'));
    let lower = before.trim_end_matches(['"', '\'', '[', ' ', '(']).to_ascii_lowercase();
    if number.after.starts_with("->") || BESIDE.iter().any(|word| lower.ends_with(word)) {
        return Role::Aside;
    }
    let call = lower.trim_end_matches(['4', '6']);
    let call = call.strip_suffix(" tcp").or_else(|| call.strip_suffix(" udp")).unwrap_or_default();
    if call.ends_with("dial") || call.ends_with("listen") { Role::Named } else { Role::Usual }
}

/// Word for "port" in the languages of the messages; those of Latin and Cyrillic letters need a word boundary.
const PORT_WORDS: &[&str] =
    &["port", "ports", "puerto", "puertos", "porta", "portas", "poort", "порт", "порту", "порта", "порте"];
const JOINED_PORT_WORDS: &[&str] =
    &["端口", "端口号", "連接埠", "通訊埠", "ポート", "ポート番号", "포트", "포트 번호"];
const AFTER_PORT_WORDS: &[&str] = &["number", "nummer", "no.", "(s)", "htons", "is"];

/// `port 8080`, `port: 8080`, `PORT=8080`, `sin_port=htons(8080)`, `{port,5672}`, `端口 8080`, `8080번 포트`.
fn by_port_word(number: &Number<'_>) -> Option<Host> {
    let separators = [' ', '\t', ':', '=', '\'', '"', '(', ',', '#', '`'];
    let mut before = number.before.trim_end_matches(separators);
    for word in AFTER_PORT_WORDS {
        before = before.strip_suffix(word).map_or(before, |rest| rest.trim_end_matches(separators));
    }
    if number.before.len() - before.len() > 16 {
        return None;
    }
    let joined = JOINED_PORT_WORDS.iter().find_map(|word| before.strip_suffix(word));
    if let Some(rest) = joined.or_else(|| PORT_WORDS.iter().find_map(|word| strip_word(before, word))) {
        return Some(host_beside(rest, number.after));
    }
    let after = number.after.trim_start_matches([' ', '번', '番', '号']);
    JOINED_PORT_WORDS.iter().any(|word| after.starts_with(word)).then_some(Host::Any)
}

/// Takes a word off the end, in any case; inside a longer word only where its capital shows it (`serverPort`).
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let from = text.len().checked_sub(word.len())?;
    let (rest, last) = (text.get(..from)?, text.get(from..)?);
    if last.to_lowercase() != word {
        return None;
    }
    let inside = rest.chars().next_back().filter(|c| c.is_alphanumeric());
    let capital = last.starts_with(char::is_uppercase) && inside.is_some_and(char::is_lowercase);
    (inside.is_none() || capital).then_some(rest)
}

/// The host near a port word: `"localhost" (127.0.0.1), port 5432`, `host db port 22`, `port 22 on 0.0.0.0`.
fn host_beside(before: &str, after: &str) -> Host {
    let trimmed = before.trim_end_matches([' ', ',', '\'', '"', '(', ')', '{', '[', ']']);
    let (rest, host) = scan::split_host(trimmed);
    if let Some(address) = scan::address(host).or_else(|| scan::last_ipv4(host)) {
        return Host::Address(address);
    }
    let quoted_address =
        ["inet_addr(\"", "inet_pton(AF_INET6, \""].iter().find_map(|call| after.split_once(call));
    let named = ["on ", "at ", "for "]
        .iter()
        .find_map(|word| after.trim_start_matches([' ', ':']).strip_prefix(word));
    if let Some(text) = quoted_address.map(|(_, text)| text).or(named) {
        let end = text.find(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':')).unwrap_or(text.len());
        let address = text.get(..end).and_then(|text| {
            scan::address(text.trim_end_matches([':', '.'])).or_else(|| scan::address(text))
        });
        if let Some(address) = address {
            return Host::Address(address);
        }
    }
    let introduced = rest.ends_with('=')
        || matches!(
            scan::last_word(rest.trim_end_matches([' ', '"', '\'', '='])).1.as_str(),
            "to" | "host" | "server" | "address"
        );
    if introduced && is_name(host) { Host::Name(host.to_owned()) } else { Host::Any }
}

/// Whether it may be a host's name: no word of a sentence about ports.
fn is_name(text: &str) -> bool {
    const WORDS: &str = "on at to in of the a tcp udp tcp4 tcp6 udp4 udp6 local remote host server listen \
        listening socket http https any same this that for unix address with requested line column col \
        errno error code pid id status version port";
    let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let lower = text.to_ascii_lowercase();
    lower.starts_with(|c: char| c.is_ascii_alphanumeric())
        && lower.contains(|c: char| c.is_ascii_alphabetic())
        && lower.chars().all(letters)
        && lower.len() <= 253
        && !WORDS.split(' ').any(|word| word == lower)
}

/// Whether it is a file's name: `main.go` before `:80` is a place in a source.
fn is_file(name: &str) -> bool {
    const EXTENSIONS: &str = "go js mjs cjs ts mts tsx jsx vue svelte py rb java kt kts scala groovy clj \
        rs c cc cpp cxx h hpp cs fs vb php pl pm lua ex exs erl hs ml swift m mm dart sh ps1 conf cfg yml \
        yaml json toml ini xml log txt html css sql service";
    name.rsplit_once('.')
        .is_some_and(|(_, end)| EXTENSIONS.split(' ').any(|extension| extension.eq_ignore_ascii_case(end)))
}

/// What stands before a colon and a number.
fn by_colon(number: &Number<'_>, node: bool) -> Option<Host> {
    let before = number.before.strip_suffix(':')?;
    if let Some(inner) = before.strip_suffix(']') {
        return bracketed(inner.rsplit_once('[')?.1);
    }
    if let Some(inner) = before.strip_suffix('|') {
        return scan::address(inner.rsplit_once('|')?.1).map(Host::Address);
    }
    let (rest, host) = scan::split_host(before);
    let lookup = scan::last_word(rest.trim_end()).1 == "on" && rest.contains("lookup ");
    let repeated = number.after.starts_with(':')
        && number.after.get(1..).is_some_and(|c| c.starts_with(|c: char| c.is_ascii_digit()));
    match host {
        _ if lookup => None,
        "" => (!repeated && opens(rest)).then_some(Host::Any),
        "*" | "+" => Some(Host::Any),
        "tcp" | "udp" | "tcp4" | "udp4" | "tcp6" | "udp6" => Some(Host::Any),
        _ if host.contains(':') => match scan::address(host) {
            Some(address) => (node || host == "::").then_some(Host::Address(address)),
            None => scan::last_ipv4(host).map(Host::Address),
        },
        _ => match scan::address(host) {
            Some(address) => Some(Host::Address(address)),
            None => (!repeated && is_host(rest, host, number.after)).then(|| Host::Name(host.to_owned())),
        },
    }
}

/// Whether an endpoint without a host may begin here: after a space, a bracket, a quote, a `//`.
fn opens(before: &str) -> bool {
    before.is_empty()
        || before.ends_with([' ', '\t', '(', '[', '{', '"', '\'', '`', '=', '/', '@', ',', '>', '<'])
}

/// What may stand between brackets.
fn bracketed(inner: &str) -> Option<Host> {
    match inner {
        "" | "*" | "undef" | "any" => Some(Host::Any),
        _ if inner.eq_ignore_ascii_case("localhost") => Some(Host::Name(inner.to_owned())),
        _ => scan::address(inner).map(Host::Address),
    }
}

/// Whether a name before a colon is a host's: localhost, what a scheme or a telling word precedes, and what
/// stands alone between brackets.
fn is_host(rest: &str, name: &str, after: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") || rest.ends_with("://") || rest.ends_with('@') {
        return is_name(name);
    }
    let (_, word) = scan::last_word(rest.trim_end_matches([' ', '"', '\'', '`']));
    let transport = matches!(word.as_str(), "tcp" | "tcp4" | "tcp6" | "udp" | "udp4" | "udp6");
    let introduced = matches!(
        word.as_str(),
        "to" | "on" | "host" | "server" | "for" | "address" | "addr" | "listen" | "bind"
    );
    let alone = rest.ends_with('(') && after.starts_with(')');
    is_name(name) && (transport || (introduced || alone) && !is_file(name))
}

/// `127.0.0.1:[9200-9300]` and `bind to [9300-9400]`: Elasticsearch tries a range and names it whole.
fn by_bracketed_range(number: &Number<'_>) -> Option<Host> {
    let before = number.before.strip_suffix('[')?;
    if !number.after.starts_with(['-', ']']) {
        return None;
    }
    match before.strip_suffix(':') {
        Some(before) => scan::address(scan::split_host(before).1)
            .map(Host::Address)
            .or_else(|| bracketed(before.strip_suffix(']')?.rsplit_once('[')?.1)),
        None => before.ends_with("bind to ").then_some(Host::Any),
    }
}

/// Tomcat's connectors: `http-nio-8080`, `https-jsse-nio-127.0.0.1-8443`; not its threads, `http-nio-8080-exec-3`.
fn by_connector(number: &Number<'_>) -> Option<Host> {
    let (_, name) = scan::split_host(number.before.strip_suffix('-')?);
    let (protocol, rest) = name.split_once('-')?;
    let parts = ["nio", "nio2", "apr", "bio", "jsse", "openssl"];
    let connector = matches!(protocol, "http" | "https" | "ajp")
        && rest.split('-').all(|part| parts.contains(&part) || scan::address(part).is_some());
    if !connector || number.after.starts_with('-') {
        return None;
    }
    let address = name.rsplit_once('-').and_then(|(_, last)| scan::address(last));
    Some(address.map_or(Host::Any, Host::Address))
}

/// A shell's `/dev/tcp/localhost/8080`.
fn by_device(number: &Number<'_>) -> Option<Host> {
    let (before, host) = scan::split_host(number.before.strip_suffix('/')?);
    if !before.ends_with("/dev/tcp/") && !before.ends_with("/dev/udp/") {
        return None;
    }
    scan::address(host).map(Host::Address).or_else(|| is_name(host).then(|| Host::Name(host.to_owned())))
}

/// `('127.0.0.1', 8000)`, `("::", 8000, 0, 0)`, `listen(*, 143)`.
fn by_tuple(number: &Number<'_>) -> Option<Host> {
    if !number.after.trim_start().starts_with([')', ',', ']']) {
        return None;
    }
    let before = number.before.trim_end().strip_suffix(',')?;
    for quote in ['\'', '"'] {
        if let Some(inner) = before.strip_suffix(quote) {
            let (_, inner) = inner.rsplit_once(quote)?;
            return match scan::address(inner) {
                Some(address) => Some(Host::Address(address)),
                None if inner.is_empty() => Some(Host::Any),
                None => (is_name(inner) && !is_file(inner)).then(|| Host::Name(inner.to_owned())),
            };
        }
    }
    let (rest, host) = scan::split_host(before);
    match host {
        _ if !rest.ends_with('(') => None,
        "*" => Some(Host::Any),
        _ => scan::address(host).map(Host::Address),
    }
}

/// SQL Server: `listen on [ 'any' <ipv4> 1433]`.
fn by_family_tag(number: &Number<'_>) -> Option<Host> {
    let before = number.before.trim_end();
    let before = before.strip_suffix("<ipv4>").or_else(|| before.strip_suffix("<ipv6>"))?;
    let (_, host) = scan::split_host(before.trim_end_matches([' ', '\'']));
    Some(scan::address(host).map_or(Host::Any, Host::Address))
}

/// TCP or UDP: by a suffix, else by the nearest word before the port, else by the only word after it.
fn transport(number: &Number<'_>) -> Option<Transport> {
    let suffix = number.after.strip_prefix('/').map(|rest| rest.get(..3).unwrap_or_default());
    if let Some(transport) = suffix.and_then(|word| word.parse().ok()) {
        return Some(transport);
    }
    let named = |text: &str| -> Vec<Transport> {
        let lower = text.to_ascii_lowercase().replace("tcp/udp", "").replace("tcp/ip", "tcp");
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter_map(|word| word.trim_end_matches(['4', '6']).parse().ok()).collect()
    };
    named(number.before).last().or(named(number.after).first()).copied()
}
