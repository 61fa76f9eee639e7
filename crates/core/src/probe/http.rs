//! `http` and `https`: the status of a page, the server's name, the title.
//!
//! Source: RFC 9110 (semantics), RFC 9112 sections 4 to 7 (status line, fields, chunks). Titles are found as HTML writes
//! them (WHATWG HTML 4.2.2), in whatever encoding: what is not UTF-8 is shown with replacement characters.
//! Leaves out on purpose: following redirections, which lead to another server; HTTP/2 and 3; encodings of content, for
//! which it does not ask.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::head::Head;
use crate::wire::line::{line, may_begin};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "http",
    aliases: &["web", "www"],
    title: "a web server: status, name, title, where it sends people",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 80, "http"),
        Home::new(Via::Tcp, 8080, "http-alt"),
        Home::new(Via::Tcp, 8000, ""),
        Home::new(Via::Tcp, 8008, ""),
        Home::new(Via::Tcp, 3000, ""),
        Home::new(Via::Tcp, 5000, ""),
        Home::new(Via::Tcp, 5985, ""),
        Home::new(Via::Tcp, 9090, ""),
        Home::new(Via::Tcp, 9100, ""),
        Home::new(Via::Tcp, 9200, ""),
        Home::new(Via::Tcp, 2375, "docker"),
        Home::new(Via::Tcp, 2379, "etcd-client"),
    ],
    settings: SETTINGS,
    start,
};

pub(super) static HTTPS: Protocol = Protocol {
    id: "https",
    aliases: &[],
    title: "a web server over TLS: status, name, title, certificate",
    doc: DOC,
    via: &[Via::Tls],
    homes: &[
        Home::new(Via::Tls, 443, "https"),
        Home::new(Via::Tls, 8443, "https-alt"),
        Home::new(Via::Tls, 6443, "sun-sr-https"),
        Home::new(Via::Tls, 5986, ""),
        Home::new(Via::Tls, 10250, ""),
    ],
    settings: SETTINGS,
    start: start_secure,
};

const SETTINGS: &[Setting] = &[
    Setting { name: "path", default: "/", title: "the page to ask for" },
    Setting { name: "name", default: "", title: "the name of the site, where it is not the host's" },
];

const DOC: &str = "\
Asks for one page, / without another word (--set path=/health), and shows the status, what the server calls itself,
the title of the page, and where a redirection leads; it is not followed. Every status proves a web server, also 404
and 503: whether it is the right one is for an expectation to say. A server of many sites is asked for the one that
the host's name names, or for --set name=www.example.com.

https does the same over TLS and shows the certificate too; one with a problem does not keep it from asking.

Fields: status, reason, version, server, location, content_type, www_authenticate, title; tls over TLS.
";

/// How far into a page a title is looked for, in bytes.
const LONGEST_SEARCH: usize = 64 * 1024;
/// The longest title, in bytes.
const LONGEST_TITLE: usize = 1024;

struct Http {
    id: &'static str,
    message: Result<Vec<u8>, String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Http { id: PROTOCOL.id, message: message(request) })
}

fn start_secure(request: &Request) -> Box<dyn Session> {
    Box::new(Http { id: HTTPS.id, message: message(request) })
}

fn message(request: &Request) -> Result<Vec<u8>, String> {
    let (path, name) = (request.setting(&PROTOCOL, "path"), request.setting(&PROTOCOL, "name"));
    let host = if name.is_empty() { request.host.clone() } else { name };
    let host = if host.contains(':') && !host.contains('[') { format!("[{host}]") } else { host };
    let host = match (request.via, request.port) {
        (Via::Tls, 443) | (Via::Tcp, 80) => host,
        (_, port) => format!("{host}:{port}"),
    };
    let is_word = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !path.starts_with('/') || !is_word(&path) {
        return Err(format!(
            "'{path}' is no path; use --set path=/ or what stands after the host in the address"
        ));
    }
    if !is_word(&host) {
        return Err(format!("'{host}' is no name of a site"));
    }
    let accept = "Accept: */*\r\nUser-Agent: portolan\r\nConnection: close";
    Ok(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{accept}\r\n\r\n").into_bytes())
}

impl Http {
    /// The answer; `is_over` where nothing more will come, so that what there is of the page must do.
    fn read(&self, data: &[u8], is_over: bool) -> Result<Step, DecodeError> {
        if !may_begin(data, b"HTTP/") {
            return Err(Reader::error_at(0, "status-line", Problem::Value(0)));
        }
        let mut reader = Reader::new(data);
        let (head, status) = loop {
            let head = Head::read(&mut reader)?;
            // 100 Continue and 103 Early Hints go before the answer.
            match head.status()? {
                status if (100..200).contains(&status.code) && status.code != 101 => {}
                status => break (head, status),
            }
        };
        let title = match page(&head, status.code, reader) {
            Page::Whole(page) => title(&page),
            Page::Cut(page) => match title(&page) {
                None if !is_over && page.len() < LONGEST_SEARCH => return Ok(Step::More),
                title => title,
            },
        };
        let fields = Fields::new()
            .with("status", status.code)
            .with_some("reason", Some(status.reason).filter(|reason| !reason.is_empty()))
            .with("version", status.version)
            .with_some("server", head.value("Server"))
            .with_some("location", head.value("Location"))
            .with_some("content_type", head.value("Content-Type"))
            .with_some("www_authenticate", head.value("WWW-Authenticate"))
            .with_some("title", title.clone());
        let mut summary = format!("{} {}", status.code, String::from_utf8_lossy(status.reason));
        let server = head.value("Server").map(|server| String::from_utf8_lossy(server).into_owned());
        let location = head.value("Location").map(|l| format!("to {}", String::from_utf8_lossy(l)));
        let title = title.map(|title| format!("\"{title}\""));
        for part in [location, server, title].into_iter().flatten() {
            summary = format!("{}, {part}", summary.trim_end());
        }
        Ok(Step::Done(Answer::new(self.id, summary, fields)))
    }
}

impl Session for Http {
    fn hello(&mut self) -> Step {
        match &self.message {
            Ok(message) => Step::Send(message.clone()),
            Err(why) => Step::failed(why.as_str()),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        let (data, is_over) = match event {
            Event::Bytes { data, .. } => (data, false),
            Event::Closed { data } | Event::Silence { data } => (data, true),
            Event::NoLine { reason } => return Step::failed(reason),
        };
        match Step::of_line(self.read(data, is_over), "HTTP", data) {
            Step::More if is_over && data.is_empty() => Step::failed("it did not answer a question in HTTP"),
            Step::More if is_over => Step::failed("its answer ends before its head does"),
            step => step,
        }
    }
}

/// What came of a page.
enum Page {
    Whole(Vec<u8>),
    Cut(Vec<u8>),
}

/// The page behind a head, as far as it came: RFC 9112 section 6.3.
fn page(head: &Head<'_>, status: u16, mut reader: Reader<'_>) -> Page {
    let coding = head.value("Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    let length =
        head.value("Content-Length").and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    match (status, coding.ends_with(b"chunked"), length) {
        (101 | 204 | 304, ..) => Page::Whole(Vec::new()),
        (_, true, _) => {
            let mut page = Vec::new();
            match chunks(&mut reader, &mut page) {
                Ok(()) => Page::Whole(page),
                Err(_) => Page::Cut(page),
            }
        }
        (_, false, Some(length)) => match reader.take(length, "content") {
            Ok(page) => Page::Whole(page.to_vec()),
            Err(_) => Page::Cut(reader.rest().to_vec()),
        },
        (_, false, None) => Page::Cut(reader.rest().to_vec()),
    }
}

/// RFC 9112 section 7.1; of a cut chunk what there is.
fn chunks(reader: &mut Reader<'_>, page: &mut Vec<u8>) -> Result<(), DecodeError> {
    loop {
        let start = reader.offset();
        let size = line(reader, "chunk-size")?;
        let digits = size.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.ok_or(Reader::error_at(start, "chunk-size", Problem::Value(0)))?;
        if size == 0 {
            return Ok(());
        }
        page.extend_from_slice(reader.take(size.min(reader.remaining()), "chunk-data")?);
        line(reader, "chunk-data")?;
    }
}

/// The title of a page, in one line.
fn title(page: &[u8]) -> Option<String> {
    let page = page.get(..LONGEST_SEARCH).unwrap_or(page);
    let find = |text: &[u8], word: &[u8]| text.windows(word.len()).position(|w| w.eq_ignore_ascii_case(word));
    let (_, element) = page.split_at(find(page, b"<title")?);
    let (_, text) = element.split_at(element.iter().position(|&byte| byte == b'>')? + 1);
    let (text, _) = text.split_at(find(text, b"</title")?);
    let text = String::from_utf8_lossy(text.get(..LONGEST_TITLE).unwrap_or(text)).into_owned();
    let text = unescaped(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// A text with its character references resolved, as far as titles have them.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let resolved = part.split_once(';').and_then(|(name, rest)| Some((character(name)?, rest)));
        match resolved {
            Some((character, rest)) => plain.extend([character.to_string().as_str(), rest]),
            None => plain.extend(["&", part]),
        }
    }
    plain
}

fn character(name: &str) -> Option<char> {
    let number = |digits, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        "ndash" => Some('–'),
        "mdash" => Some('—'),
        "middot" => Some('·'),
        "copy" => Some('©'),
        "laquo" => Some('«'),
        "raquo" => Some('»'),
        _ => match name.strip_prefix('#')? {
            hex if hex.starts_with(['x', 'X']) => number(&hex[1..], 16),
            digits => number(digits, 10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// nginx 1.22.1 of Debian 12.
    const MOVED: &[u8] = b"HTTP/1.1 301 Moved Permanently\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 00:41:09 GMT\r\n\
        Content-Type: text/html\r\nContent-Length: 169\r\nConnection: close\r\nLocation: http://example.com/\r\n\r\n\
        <html>\r\n<head><title>301 Moved Permanently</title></head>\r\n<body>\r\n<center><h1>301 Moved Permanently\
        </h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";

    #[test]
    fn a_page_is_told_by_its_status_server_title_and_where_it_leads() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[MOVED]);
        assert_eq!(
            answer.summary,
            "301 Moved Permanently, to http://example.com/, nginx/1.22.1, \"301 Moved Permanently\""
        );
        let json = r#"{"status":301,"reason":"Moved Permanently","version":"HTTP/1.1","server":"nginx/1.22.1","location":"http://example.com/","content_type":"text/html","title":"301 Moved Permanently"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let secure = survives(&HTTPS, &request(&HTTPS, Via::Tls), &[MOVED]);
        assert_eq!((secure.protocol, secure.fields), ("https", answer.fields));
    }

    #[test]
    fn a_title_may_come_in_chunks_after_a_hint() {
        let reply = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            1c;x=y\r\n<html><TITLE lang=de>\n Gr\xc3\xb6\xc3\r\n12\r\n\x9fe &amp; &#x41;\n</\r\n6\r\ntitle>\r\n0\r\n\r\n";
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]);
        assert_eq!(answer.summary, "200 OK, \"Größe & A\"");
    }

    #[test]
    fn a_page_without_a_length_ends_with_the_line() {
        for page in [&b"HTTP/1.0 200 OK\r\n\r\nhi"[..], b"HTTP/1.1 200\r\nContent-Length: 99\r\n\r\nhi"] {
            let answer = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[page]).answer.unwrap();
            assert_eq!(answer.fields.value("title"), None);
        }
        let endless = [b"HTTP/1.0 200 OK\r\n\r\n".as_slice(), &[b'x'; LONGEST_SEARCH]].concat();
        let mut session = start(&request(&PROTOCOL, Via::Tcp));
        let event = Event::Bytes { from: ([192, 0, 2, 1], 80).into(), data: &endless };
        assert!(matches!(session.on(event), Step::Done(_)), "a page that never ends is not waited for");
    }

    #[test]
    fn what_is_asked_for_is_what_was_set_and_nothing_slips_in() {
        let mut asked = request(&PROTOCOL, Via::Tcp);
        asked.settings = vec![("path".into(), "/health?x".into()), ("name".into(), "www.example".into())];
        let sent = play(&PROTOCOL, &asked, &[]).sent.concat();
        assert!(sent.starts_with(b"GET /health?x HTTP/1.1\r\nHost: www.example\r\n"));
        (asked.host, asked.port) = ("2001:db8::1".into(), 8080);
        asked.settings = vec![("path".into(), "/".into())];
        assert!(
            play(&PROTOCOL, &asked, &[])
                .sent
                .concat()
                .starts_with(b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n")
        );
        for (name, value) in [("path", "x"), ("path", "/ HTTP/1.0\r\nX: y"), ("name", "a\r\nX: y")] {
            asked.settings = vec![(name.into(), value.into())];
            let played = play(&PROTOCOL, &asked, &[]);
            assert!(played.answer.is_err() && played.sent.is_empty(), "{value}");
        }
    }

    #[test]
    fn what_is_no_web_server_is_said() {
        let why =
            |replies: &[&[u8]]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), replies).answer.unwrap_err();
        assert_eq!(why(&[b"220 mail\r\n"]), "this is not HTTP: it said \"220 mail\"");
        assert_eq!(why(&[]), "it did not answer a question in HTTP");
        assert_eq!(why(&[b"HTTP/1.1 200 OK\r\nA: b"]), "its answer ends before its head does");
    }
}
