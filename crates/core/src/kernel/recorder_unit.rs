//! The recorder as a unit of systemd: its text.
//!
//! Source: systemd.service(5), systemd.exec(5), systemd.resource-control(5), systemd.syntax(7) (quoting, specifiers);
//! proc(5) and capabilities(7) for what seeing the owner of every socket takes; bpf(2). It runs as root with four
//! capabilities left: CAP_DAC_READ_SEARCH to open /proc/PID/fd of every user, CAP_SYS_PTRACE to read where descriptors lead,
//! CAP_BPF and CAP_PERFMON for the kernel's iterators (large processes, bind buckets). Left out on purpose:
//! `ProtectProc=` and `ProcSubset=`, which hide processes, `PrivateUsers=` and `PrivateNetwork=`, which hide sockets.

/// The name of the unit.
pub const UNIT: &str = "portolan-record.service";
/// The folder that systemd makes for it: that of root's journal.
const STATE: &str = "/var/lib/portolan";
/// What `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What `PrivateTmp=` hides.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What it may take, and what it needs to see.
const MAY: &str = "\
# It gives way to everything else.
Nice=10
CPUWeight=20
IOWeight=20
MemoryMax=512M
TasksMax=32
OOMScoreAdjust=500

# To see who holds every socket: descriptors of all users, and the kernel's own iterators.
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_SYS_PTRACE CAP_BPF CAP_PERFMON
RestrictAddressFamilies=AF_NETLINK AF_INET AF_INET6 AF_UNIX
SystemCallFilter=@system-service bpf
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native

# Nothing else.
ProtectSystem=strict
";
/// What it is kept from, and when it is started.
const MAY_NOT: &str = "\
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
IPAddressDeny=any
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
";

/// Whether a path is one of these folders or lies in one.
fn is_in(path: &str, folders: &[&str]) -> bool {
    let below = |folder: &&str| {
        path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    folders.iter().any(below)
}

/// A word of a unit's setting: quoted where it has to be, specifiers and, in commands, variables taken literally.
fn word(text: &str, is_command: bool) -> String {
    let mut text = text.replace('%', "%%");
    if is_command {
        text = text.replace('$', "$$");
    }
    let is_plain = |c: char| c.is_alphanumeric() || "/._-,:=+@%$".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text of a unit that runs this program with these arguments, which writes in this folder alone. An error is the
/// reason why no unit can do that, in one line.
pub fn recorder_unit(program: &str, arguments: &[String], folder: &str) -> Result<String, String> {
    let paths = [program, folder];
    for path in paths {
        let is_odd = path.chars().any(char::is_control) || program.contains('$');
        if !path.starts_with('/') || is_odd {
            return Err(format!(
                "systemd takes no such path: {}; choose a plainer one",
                path.escape_default()
            ));
        }
        if is_in(path, &TEMPORARY) {
            return Err(format!(
                "{path} is a place for temporary files, which a service has its own of; choose another"
            ));
        }
    }
    let mut command = vec![word(program, false)];
    command.extend(arguments.iter().map(|argument| word(argument, true)));
    let home = if paths.iter().any(|path| is_in(path, &HOMES)) { "read-only" } else { "yes" };
    let written = match folder {
        STATE => "StateDirectory=portolan\nStateDirectoryMode=0700".to_owned(),
        other => format!("ReadWritePaths={}", word(other, false)),
    };
    let mounted = match folder {
        STATE => String::new(),
        other => format!("RequiresMountsFor={}\n", word(other, false)),
    };
    Ok(format!(
        "# Made by `portolan record --install`; `portolan record --uninstall` removes it.
[Unit]
Description=Portolan: records who uses the ports and how much room is left
{mounted}
[Service]
Type=notify
ExecStart={}
Restart=on-failure
RestartSec=30
UMask=0077
{written}

{MAY}ProtectHome={home}
{MAY_NOT}",
        command.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(program: &str, file: &str, folder: &str) -> Result<String, String> {
        recorder_unit(program, &["record".into(), "--file".into(), file.into()], folder)
    }

    fn line<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
        unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    #[test]
    fn it_writes_in_one_folder_alone() {
        let of_root = unit("/usr/bin/portolan", "/var/lib/portolan/history.db", "/var/lib/portolan").unwrap();
        assert_eq!(
            line(&of_root, "ExecStart"),
            Some("/usr/bin/portolan record --file /var/lib/portolan/history.db")
        );
        assert_eq!(line(&of_root, "StateDirectory"), Some("portolan"));
        assert_eq!((line(&of_root, "ReadWritePaths"), line(&of_root, "ProtectHome")), (None, Some("yes")));
        let of_home = unit("/usr/bin/portolan", "/home/a b/100%/$h.db", "/home/a b/100%").unwrap();
        assert_eq!(line(&of_home, "StateDirectory"), None);
        assert_eq!(line(&of_home, "ReadWritePaths"), Some("\"/home/a b/100%%\""));
        assert_eq!(line(&of_home, "RequiresMountsFor"), Some("\"/home/a b/100%%\""));
        assert_eq!(line(&of_home, "ProtectHome"), Some("read-only"));
        let command = "/usr/bin/portolan record --file \"/home/a b/100%%/$$h.db\"";
        assert_eq!(line(&of_home, "ExecStart"), Some(command));
        let beside = unit("/homely/p", "/srv/h.db", "/srv").unwrap();
        assert_eq!(line(&beside, "ProtectHome"), Some("yes"));
    }

    #[test]
    fn a_path_that_no_unit_can_have_is_refused_with_the_reason() {
        for (program, folder) in [
            ("/tmp/portolan", "/srv"),
            ("/usr/bin/portolan", "/var/tmp/x"),
            ("/usr/bin/portolan", "/srv/a\nUser=mallory"),
            ("/srv/$HOME/portolan", "/srv"),
            ("portolan", "/srv"),
        ] {
            let refused = unit(program, "/srv/h.db", folder).unwrap_err();
            assert!(refused.contains("choose"), "{refused}");
        }
    }

    #[test]
    fn words_are_quoted_so_that_nothing_of_them_means_anything() {
        assert_eq!(word("a\\\"b", true), "\"a\\\\\\\"b\"");
        assert_eq!(word("", true), "\"\"");
        assert_eq!(word(";", true), "\";\"");
    }
}
