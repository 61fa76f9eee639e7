//! The pages of help of what looks at this machine.

use super::pages;

pub(super) const VERBS: &[&str] = &["chart", "list", "who", "why"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
    ======== chart

    Draw the chart: what portolan does without a command

    Usage: portolan chart [OPTIONS]

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan
      portolan --from before.json
      portolan chart --json

    ======== list

    List sockets with their owners: filtered, sorted, or counted in groups

    Usage: portolan list [OPTIONS]

    Options:
      -h, --help  Print help

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

    How to show them:
          --no-owners         Leave owners out; much faster where there are many processes
          --columns <COLUMN>  Columns to show, in this order [possible values: transport, family, state,
                              local, local-address, local-port, remote, remote-address, remote-port,
                              service, owner, owner-state, pid, name, command, user, unit, container,
                              inode, uid, interface, receive-queue, send-queue, timer]
          --sort <COLUMN>     Sort by these columns, -COLUMN backwards [default:
                              transport,family,local-port,local,remote]
          --group-by <WHAT>   Count the sockets of each value instead of listing them [possible values:
                              state, transport, family, process, name, user, unit, container, port,
                              local, remote, remote-port, service]

    Options of every command

    Examples:
      portolan list --listening
      portolan list --port 80,443,8000-8100 --state established
      portolan list --address 10.0.0.0/8 --name 'nginx*' --columns local,remote,pid
      portolan list --group-by state
      portolan list --no-owners --format csv > sockets.csv

    The service is that of the local port, or of a connection's two ports the lower.

    ======== who

    Show who holds a port, and how far it is reachable

    Usage: portolan who [OPTIONS] <PORT>...

    Arguments:
      <PORT>...  Port or range, of both transports or of one: 8080, 53/udp, 8000-8100

    Options:
          --first  Stop at the first holder found of each socket: quicker, and others may share it
      -h, --help   Print help

    Options of every command

    Examples:
      portolan who 8080
      portolan who 53/udp 80 443
      portolan who 8000-8100/tcp

    Exit code 1 when nobody holds a port that was asked for.

    ======== why

    Say why a port does not bind, and what to do about it

    Usage: portolan why [OPTIONS] <TARGET>...

    Arguments:
      <TARGET>...  [ADDRESS:]PORT[/udp], or the error message that a program gave, as it is

    Options:
          --user <USER>  Ask for this user, by name or id
      -h, --help         Print help

    Options of every command

    Examples:
      portolan why 8080
      portolan why 127.0.0.1:53/udp
      portolan why any                     is a port left for bind(0)?
      portolan why 80 --user www-data
      portolan why "listen tcp 0.0.0.0:8080: bind: address already in use"

    Nothing is disturbed: the port is bound for a moment and let go, and where even that could take
    something from a running service the socket table answers.
    Exit codes: 0 it binds; 1 it does not; 2 could not tell.
    "#);
}
