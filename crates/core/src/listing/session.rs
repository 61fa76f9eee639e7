//! Console sessions: prompts and what was typed behind them.
//!
//! Source: cmd's and PowerShell's default prompts, those of bash on Debian and Red Hat, and Windows' prompt in an SSH
//! session (`user@HOST C:\…>`).
//! Left out on purpose: prompts of one's own making; where one hides a listing's beginning, the listing is still found
//! by its own look.

use super::Line;

/// Commands that are known without a prompt before them: people write them as headings.
const COMMANDS: [&str; 8] =
    ["netstat", "netsh", "ss", "tasklist", "lsof", "get-nettcpconnection", "get-netudpendpoint", "hostname"];

/// What a prompt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prompt<'a> {
    /// What was typed; may be empty.
    pub(crate) command: &'a str,
    /// The host that the prompt names.
    pub(crate) host: Option<&'a str>,
}

/// A prompt with what was typed behind it, or a command that stands alone on its line.
pub(crate) fn prompt(line: &str) -> Option<Prompt<'_>> {
    let line = line.trim();
    windows(line).or_else(|| unix(line)).or_else(|| heading(line))
}

/// `C:\Users\x>`, `PS C:\>`, `(base) PS C:\>`, `PS HKLM:\>`, `user@HOST C:\>`.
fn windows(line: &str) -> Option<Prompt<'_>> {
    let (before, command) = line.split_once('>')?;
    let colon = before.find(":\\")?;
    let (lead, drive) = before[..colon].rsplit_once(' ').unwrap_or(("", &before[..colon]));
    let named = !drive.is_empty() && drive.bytes().all(|byte| byte.is_ascii_alphabetic());
    let lead = match lead.split_once(") ") {
        Some((environment, lead)) if environment.starts_with('(') => lead,
        _ => lead,
    };
    let host = lead.rsplit_once('@').map(|(_, host)| host).filter(|host| is_host(host));
    let plain = matches!(lead, "" | "PS") || host.is_some();
    (named && plain && (drive.len() == 1 || lead == "PS")).then_some(Prompt { command: command.trim(), host })
}

/// `user@host:~$`, `[user@host ~]#`, `$`, `#`.
fn unix(line: &str) -> Option<Prompt<'_>> {
    if let Some(command) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) {
        return Some(Prompt { command: command.trim(), host: None });
    }
    let (user, rest) = line.split_once('@')?;
    let user = user
        .rsplit_once(['[', ' '])
        .map_or(user, |(lead, user)| if lead.starts_with('(') || lead.is_empty() { user } else { "" });
    let name_end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))?;
    let (host, rest) = rest.split_at(name_end);
    let end = rest.find(['$', '#'])?;
    let command = &rest[end + 1..];
    let shaped = rest.starts_with([':', ' ', '$', '#']) && (command.is_empty() || command.starts_with(' '));
    (shaped && !user.is_empty() && user.len() <= 32 && is_host(host))
        .then_some(Prompt { command: command.trim(), host: Some(host) })
}

/// A known command alone on its line, with options or the like behind it, so that no row of a table is taken for one.
fn heading(line: &str) -> Option<Prompt<'_>> {
    let mut words = line.trim_start_matches('>').split_ascii_whitespace();
    let first = words.next()?.to_ascii_lowercase();
    let known = COMMANDS.contains(&first.trim_end_matches(".exe"));
    let plain = words.next().is_none_or(|word| {
        word.starts_with(['-', '/', '|']) || ["int", "interface"].iter().any(|w| word.eq_ignore_ascii_case(w))
    });
    (known && plain).then_some(Prompt { command: line.trim_start_matches('>'), host: None })
}

fn is_host(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// One part of a session: what was typed, and the lines up to the next prompt.
pub(crate) struct Section<'a> {
    /// The prompt before it; none for what stands before the first.
    pub(crate) prompt: Option<Prompt<'a>>,
    /// Its lines, without the prompt's.
    pub(crate) lines: &'a [Line<'a>],
}

/// Cuts a text at its prompts.
pub(crate) fn sections<'a>(lines: &'a [Line<'a>]) -> Vec<Section<'a>> {
    let mut sections = Vec::new();
    let mut from = 0;
    let mut last = None;
    for (at, line) in lines.iter().enumerate() {
        if let Some(prompt) = prompt(line.text) {
            sections.push(Section { prompt: last, lines: &lines[from..at] });
            (last, from) = (Some(prompt), at + 1);
        }
    }
    sections.push(Section { prompt: last, lines: &lines[from..] });
    sections
}

/// The build number of the banner that cmd shows when it starts: `Microsoft Windows [Version 10.0.19045.3803]`.
pub(crate) fn banner(line: &str) -> Option<&str> {
    let (_, inside) = line.split_once("Microsoft Windows [")?;
    let inside = inside.split_once(']')?.0;
    let build = &inside[inside.find(|c: char| c.is_ascii_digit())?..];
    let plain = build.len() <= 32 && build.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && build.contains('.')).then_some(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn typed(line: &str) -> (&str, Option<&str>) {
        let prompt = prompt(line).unwrap_or_else(|| panic!("no prompt: {line}"));
        (prompt.command, prompt.host)
    }

    #[test]
    fn prompts_of_every_shell_show_what_was_typed() {
        assert_eq!(
            typed(r"C:\>netsh int ipv4 show dynamicport tcp"),
            ("netsh int ipv4 show dynamicport tcp", None)
        );
        assert_eq!(typed(r"C:\Users\Jörg> netstat -ano"), ("netstat -ano", None));
        assert_eq!(typed(r"PS C:\Windows\system32> Get-NetTCPConnection"), ("Get-NetTCPConnection", None));
        assert_eq!(typed(r"(base) PS C:\> tasklist /svc"), ("tasklist /svc", None));
        assert_eq!(typed(r"PS HKLM:\> dir"), ("dir", None));
        assert_eq!(typed(r"ann@BUILD-07 C:\Users\ann>netstat -ano"), ("netstat -ano", Some("BUILD-07")));
        assert_eq!(typed("ann@web1:~/logs$ ss -tanp"), ("ss -tanp", Some("web1")));
        assert_eq!(typed("[root@db-2 ~]# netstat -tanp"), ("netstat -tanp", Some("db-2")));
        assert_eq!(typed("root@db-2:/#"), ("", Some("db-2")));
        assert_eq!(typed("$ cat /proc/net/tcp"), ("cat /proc/net/tcp", None));
        assert_eq!(typed("netstat -anob"), ("netstat -anob", None));
        assert_eq!(
            typed(">netsh int ipv4 show excludedportrange tcp"),
            ("netsh int ipv4 show excludedportrange tcp", None)
        );
    }

    #[test]
    fn rows_of_listings_are_no_prompts() {
        for line in [
            "  TCP    0.0.0.0:135            0.0.0.0:0              LISTENING       748",
            " [svchost.exe]",
            "ss        812 root    3u  IPv4  12345      0t0  TCP *:80 (LISTEN)",
            "netstat.exe                   4711 Console                    1     13,108 K",
            "tcp   LISTEN 0      128          0.0.0.0:2024       0.0.0.0:*    users:((\"a@b:$ x\",pid=1,fd=2))",
            "----------    --------",
            "netsh writes this",
            "",
        ] {
            assert_eq!(prompt(line), None, "{line}");
        }
    }

    #[test]
    fn a_banner_tells_the_build_in_any_language() {
        assert_eq!(banner("Microsoft Windows [Version 10.0.19045.3803]"), Some("10.0.19045.3803"));
        assert_eq!(banner("Microsoft Windows [版本 10.0.22631.1]"), Some("10.0.22631.1"));
        assert_eq!(banner("Microsoft Windows [x"), None);
    }

    #[test]
    fn a_session_is_cut_at_its_prompts() {
        let text = "a\n$ ss\nb\nc\n$ hostname\n";
        let (lines, _) = crate::listing::lines(text);
        let sections = sections(&lines);
        let shape: Vec<_> = sections.iter().map(|s| (s.prompt.map(|p| p.command), s.lines.len())).collect();
        assert_eq!(shape, [(None, 1), (Some("ss"), 2), (Some("hostname"), 0)]);
    }
}
