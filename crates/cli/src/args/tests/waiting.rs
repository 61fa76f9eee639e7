//! The pages of help of what picks, keeps, awaits and watches ports.

use super::pages;

pub(super) const VERBS: &[&str] = &["pick", "wait", "watch", "hold"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
    ======== pick

    Pick ports that are free now and likely to stay free, a line each

    Usage: portolan pick [OPTIONS]

    Options:
          --count <N>           How many [default: 1]
          --range <FIRST-LAST>  Out of these ports [default: 1-65535]
          --near <PORT>         As near as can be to this port, instead of anywhere
          --transport <WHICH>   Free for which transport [default: both] [possible values: tcp, udp,
                                both]
          --ephemeral           Out of the ephemeral range too: a client may be given the port a moment
                                later
      -h, --help                Print help

    Options of every command

    Examples:
      portolan pick
      server --port $(portolan pick --near 8080)
      portolan pick --count 3 --range 20000-29999

    Such a port is held by no socket of any family, is not reserved, not known for a service, and no
    client is given it by the system, since it lies outside of the ephemeral range. All of them are
    bound at once before one is printed. What firewall rules redirect is not looked at: portolan why
    PORT tells.
    Exit code 1, and no port, when there are fewer than asked for.

    ======== wait

    Wait until a port is listened on, closed, or free

    Usage: portolan wait [OPTIONS] --for <WHAT> <PORT|HOST:PORT>

    Arguments:
      <PORT|HOST:PORT>  PORT[/udp] of this machine, or HOST:PORT, [ADDRESS]:PORT

    Options:
          --for <WHAT>           What for [possible values: free, listening, closed]
          --timeout <SECONDS>    Give up after that many seconds; without it, never
          --transport <tcp|udp>  tcp or udp; tcp when not said
      -h, --help                 Print help

    Options of every command

    Examples:
      portolan wait 8080 --for free --timeout 60      until it binds: TIME_WAIT is waited for too
      portolan wait 5432 --for listening && start-the-rest
      portolan wait db.example:5432 --for listening --timeout 30
      portolan wait 53/udp --for closed

    listening: somebody listens, on whatever address. closed: nobody listens. free: nobody holds the
    port, and it binds on every address without options. Of another host only a connection tells:
    refused is closed and free; no answer is neither.
    Exit codes: 0 reached; 1 not reached within the timeout; 2 could not tell, or typed wrong.

    ======== watch

    Watch what opens, closes and changes state, a line each

    Usage: portolan watch [OPTIONS]

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

    How to watch:
          --no-owners               Leave owners out; much faster where there are many processes
          --interval <SECONDS>      Seconds from one look to the next [default: 1]
          --for <SECONDS>           End after that many seconds
          --until <CONDITION>       End when this holds: 'established>100', 'listen=0', 'opened>=1'
          --log <FILE>              Write every line to this file too, at once; one that is there
                                    already is refused
          --append                  Add to the log that is there already
          --exec <PROGRAM ARG…>...  Run this when --until is reached, or else whenever something
                                    changed; its output goes to stderr; it must come last

    Options of every command

    Examples:
      portolan watch --port 8080
      portolan watch --name 'nginx*' --json --log nginx.jsonl
      portolan watch --state close-wait --until 'close-wait>100' --exec notify-send 'it leaks'
      portolan watch --port 5432 --until 'listen>=1' --for 30 && start-the-rest

    It looks once an interval: what opens and closes between two looks is not seen. A connection
    that comes to a state of --state, or leaves it, is a change. JSON is an object for each look that
    saw a change, on a line of its own.
    --until counts what there is now (sockets, and each state) and what happened since the beginning
    (opened, closed, changed), compared by > >= < <= = !=. So closed>=1 waits until a socket closes,
    listen=0 until nobody listens, and state:closed>=1 for one in the state CLOSED.
    Esc, q (on a terminal) and Ctrl+C end it.
    Exit codes: 0 ended, and what --until waits for was reached; 1 it was not; 2 could not tell,
    or typed wrong.

    ======== hold

    Keep ports by binding them, without listening: until Ctrl+C, for a time, or for a command

    Usage: portolan hold [OPTIONS] <PORT|FIRST-LAST>... [-- <COMMAND>...]

    Arguments:
      <PORT|FIRST-LAST>...  Ports and ranges
      [COMMAND]...          Run this in place of portolan, with the same process id

    Options:
          --address <ADDRESS>  On this address alone, instead of on all of both families
          --transport <WHICH>  For which transport [default: tcp] [possible values: tcp, udp, both]
          --for <SECONDS>      For that many seconds
          --pass               Hand the sockets to the command, TCP ones listening, as sd_listen_fds(3)
                               says
      -h, --help               Print help

    Options of every command

    Examples:
      portolan hold 8080                          until Ctrl+C
      portolan hold 8080 8443 --for 30
      portolan hold 8080 -- server --port 8080    let go in the instant the server begins
      portolan hold 8080 --pass -- server         handed to it as systemd does: descriptors from 3 on

    Exit code 1, and nothing is held, when one of the ports cannot be had. With a command: its own
    exit code.
    "#);
}
