//! The pages of help of what ends programs and connections, and takes changes back.

use super::pages;

pub(super) const VERBS: &[&str] = &["free", "close", "undo", "resume"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
    ======== free

    Free a port: stop the program that holds it, its unit or its container

    Usage: portolan free [OPTIONS] <PORT[/udp]>...

    Arguments:
      <PORT[/udp]>...  Port, TCP unless it says otherwise: 8080, 53/udp

    Options:
          --signal <NAME>            Signal to begin with: TERM, INT, HUP, QUIT, USR1, USR2 or KILL
                                     [default: TERM]
          --timeout <SECONDS>        Seconds that a process may take to end [default: 10]
          --force                    Kill a process that has not ended by then (SIGKILL)
          --tree                     End the processes too that the holder has started
          --even-if-critical <NAME>  End a program of this name although that may cut you off: sshd,
                                     systemd-resolve …
          --dry-run                  Show what would be done, and do nothing
      -y, --yes                      Do it without asking
      -h, --help                     Print help

    Options of every command

    Examples:
      portolan free 8080 --dry-run      what would be stopped, and what else that hits
      portolan free 8080
      portolan free 53/udp 8080 --yes
      portolan free 8080 --force        SIGKILL after 10 s for one that does not end

    A holder listens or is bound; clients of a remote port of that number are never touched. A systemd
    unit is stopped by systemctl, a container by docker or podman, anything else by a signal. On
    Windows a service is stopped by its manager; anything else by its windows, or by Ctrl+C in its
    console where nobody else is in that. Exit code 0: freed, or free already; 1: refused, failed,
    or held again.

    ======== close

    Close TCP connections without ending their programs; the other side sees a reset

    Usage: portolan close [OPTIONS]

    Options:
          --all      Close them also when they are more than 100
          --dry-run  Show what would be done, and do nothing
      -y, --yes      Do it without asking
      -h, --help     Print help

    Which sockets:
      -p, --port <PORTS>             Local port or range: 80, 8000-8100, 80,443
          --remote-port <PORTS>      Remote port or range
          --state <STATE>            State: listen, established, time-wait …; ss's and netstat's names
                                     are known too
      -l, --listening                Only those that wait for peers: TCP listeners, UDP sockets without
                                     a peer
      -t, --transport <TRANSPORT>    tcp or udp
          --family <FAMILY>          ipv4 or ipv6
          --address <ADDRESS>        Local or remote address, or network: 10.0.0.5, 10.0.0.0/8, fd00::/8
          --local <ADDRESS[:PORT]>   Local end: an address, a network, or an address with its port:
                                     10.0.0.5:443, [::1]:443
          --remote <ADDRESS[:PORT]>  Remote end, written alike
          --pid <PID>                Held by this process
          --name <NAME>              Held by a process of this name; * stands for any characters
          --user <USER>              Of this user, by name or id
          --unit <UNIT>              Of this systemd unit; * stands for any characters

    Options of every command

    Examples:
      portolan close --local 10.0.0.5:51514            one connection, by its near end
      portolan close --remote 10.0.7.9:8443 --pid 812
      portolan close --port 8080 --state time-wait     the port is free at once
      portolan close --state close-wait --name worker --all

    A listener is left alone: portolan free stops who holds it. UDP has no connections to close.
    Exit code 0 also when nothing matches; 1 when it was refused or failed.

    ======== undo

    Take back what a command changed, also after a crash or a restart in the middle

    Usage: portolan undo [OPTIONS] [ID]

    Arguments:
      [ID]  Number of the plan; without it the newest that is not yet taken back

    Options:
          --list     Show the journal
          --dry-run  Show what would be done, and do nothing
      -y, --yes      Do it without asking
      -h, --help     Print help

    Options of every command

    Examples:
      portolan undo --list     what was changed on this machine, by number
      portolan undo            the newest plan of this network namespace that stands
      portolan undo 3

    ======== resume

    Go on with a plan that was cut off, or that waited for a restart

    Usage: portolan resume [OPTIONS] [ID]

    Arguments:
      [ID]  Number of the plan; without it the newest that has not come to its end

    Options:
          --dry-run  Show what would be done, and do nothing
      -y, --yes      Do it without asking
      -h, --help     Print help

    Options of every command

    Examples:
      portolan undo --list     what was begun, and what comes next of it
      portolan resume          the newest plan that has not come to its end
      portolan resume 3
      portolan undo 3          the other way out: take back what was done of it
    "#);
}
