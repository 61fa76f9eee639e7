//! The command line: every page of help, and that each verb is whole.

use clap::CommandFactory as _;

use super::*;

/// The help of portolan and of every verb, as `--help` prints it where the output is no terminal; options of every
/// command stand once, and a verb whose page has them otherwise shows how.
fn helps() -> String {
    let verbs: Vec<String> =
        Portolan::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let (mut text, mut general) = (String::new(), String::new());
    for verb in std::iter::once("").chain(verbs.iter().map(String::as_str)) {
        let words = ["portolan", verb, "--help"].into_iter().filter(|word| !word.is_empty());
        let help = Portolan::command().term_width(100).try_get_matches_from(words).unwrap_err();
        let help = help.to_string();
        let section = help.split("\n\n").find(|section| section.starts_with("Options of every command:"));
        let section = section.unwrap_or_default();
        let help = match section == general {
            true => help.replacen(section, "Options of every command", 1),
            false => help.clone(),
        };
        if general.is_empty() {
            general = section.to_owned();
        }
        text.push_str(&format!("======== {verb}\n\n{help}\n"));
    }
    // Lines that clap fills up with spaces would not survive an editor.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is the help of every verb")]
fn the_help_of_every_verb_is_known() {
    insta::assert_snapshot!(helps(), @r#"
    ========

    Whose is this port, and why can't I have it? Without a command: the chart of this machine's ports

    Usage: portolan [OPTIONS] [COMMAND]

    Commands:
      chart        Draw the chart: what portolan does without a command
      list         List sockets with their owners: filtered, sorted, or counted in groups
      who          Show who holds a port, and how far it is reachable
      why          Say why a port does not bind, and what to do about it
      range        Show or change the ephemeral range: the ports the system gives to clients by itself
      reserve      Keep ports from being given to clients: the system then leaves them to the programs
                   that ask for them by number
      budget       Tell how many more connections can be made, who uses the rest, and what else runs out
      free         Free a port: stop the program that holds it, its unit or its container
      close        Close TCP connections without ending their programs; the other side sees a reset
      undo         Take back what a command changed, also after a crash or a restart in the middle
      resume       Go on with a plan that was cut off, or that waited for a restart
      pick         Pick ports that are free now and likely to stay free, a line each
      wait         Wait until a port is listened on, closed, or free
      watch        Watch what opens, closes and changes state, a line each
      history      Tell how it went: who grew, how much room was left, when it ends; as a chart, a
                   picture, a table
      trace        Trace failing bind, connect and listen calls, of every program, and say why
      record       Record who uses the ports and how much room is left, for portolan history
      hold         Keep ports by binding them, without listening: until Ctrl+C, for a time, or for a
                   command
      probe        Ask whether ports of other hosts are open, and what speaks there
      portqry      PortQry's own command line, output and exit codes: portolan portqry -n HOST -e 80
      connect      Talk to a port: type at it, as with telnet, or let a script do it
      explain      Explain a finding or a protocol: what it means, how it comes about, what to do
      snapshot     Keep everything there is to see in a file, or what others sent, for --from
      schema       Print the JSON Schema of what a command gives with --json
      completions  Print the script that completes portolan's words in a shell
      man          Print a page of the manual, or write all of them to a directory

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Options of every command:
          --format <FORMAT>   How to write the answer: table (for people, the default), json (for
                              programs, see: portolan schema), csv (for spreadsheets, with gaps on
                              stderr)
          --json              Short for --format json
          --from <FILE>       Answer from a snapshot file instead of this machine (- reads it from
                              stdin)
          --netns <NAME|PID>  Look at another network namespace: a name below /run/netns, or that of a
                              process
          --color <WHEN>      When to use colour; auto: on a terminal, unless NO_COLOR is set [default:
                              auto] [possible values: auto, always, never]

    Examples:
      portolan                     the chart of this machine
      portolan why 8080            why the port does not bind, and the ways out
      portolan who 53/udp          who holds the port, and how far it is reachable
      portolan list --listening    every listener with its owner

    Exit codes: 0 fine; 1 not (why: does not bind; who: nobody); 2 could not tell, or typed wrong.

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
    something from a
    running service the socket table answers.
    Exit codes: 0 it binds; 1 it does not; 2 could not tell.

    ======== range

    Show or change the ephemeral range: the ports the system gives to clients by itself

    Usage: portolan range [OPTIONS] [COMMAND]

    Commands:
      show   Show the range: in the running kernel, and in the file that sets it at the next start
      set    Set the range
      reset  Back to the system's default

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan range                           what is set, now and after a restart
      portolan range set 10000-60999 --dry-run what would be done
      portolan range set --start 20000 --count 10000 --runtime
      portolan range reset                     back to the system's default

    ======== reserve

    Keep ports from being given to clients: the system then leaves them to the programs that ask for
    them by number

    Usage: portolan reserve [OPTIONS] [COMMAND]

    Commands:
      list     Show what is reserved, who made it, and which listeners it covers
      add      Reserve ports, beside whatever is reserved already
      remove   Stop reserving ports
      suggest  Find listeners and configured services that ought to be reserved

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan reserve                                     what is reserved, by whom, and who listens
      there
      portolan reserve add 5432 8000-8100 --why postgres
      portolan reserve remove 5432
      portolan reserve suggest                             listeners that a client could be given the
      port of

    ======== budget

    Tell how many more connections can be made, who uses the rest, and what else runs out

    Usage: portolan budget [OPTIONS]

    Options:
          --to <HOST:PORT>    Towards this destination alone
          --source <ADDRESS>  From this address of the machine alone
          --udp               For UDP alone
          --bind              For bind with port 0 alone
          --all-netns         In every network namespace of the machine
          --no-owners         Leave owners out; much faster where there are many processes
          --over <SECONDS>    Watch for so many seconds, and tell what grows and when it ends
          --since <FILE>      Compare with an earlier snapshot file
          --try <HOST:PORT>   Make one real connection there, to tell exhausted, refused and filtered
                              apart
      -h, --help              Print help

    Options of every command

    Examples:
      portolan budget
      portolan budget --to db.example:5432
      portolan budget --source 10.0.0.5 --bind
      portolan budget --over 10                          what grows, and when the room ends
      portolan budget --from now.json --since before.json
      portolan budget --try db.example:5432              one real connection, as evidence

    The room left is counted by the system's own rules. Where it does not show what decides, it is a
    range, with the
    reason. --from takes a snapshot file, as everywhere; an address after --from is taken for --source.
    Exit codes: 0 fine; 1 something runs out, or --try found no port; 2 could not tell, or no way there.

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
    client is given it by
    the system, since it lies outside of the ephemeral range. All of them are bound at once before one
    is printed. What
    firewall rules redirect is not looked at: portolan why PORT tells.
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
    port, and it binds on
    every address without options. Of another host only a connection tells: refused is closed and free;
    no answer is
    neither.
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
    that comes to a state of --state, or leaves it, is a change. Counts: sockets, opened, closed,
    changed since the beginning, and each state now; compared by > >= < <= = !=. JSON is an object
    for each look that saw a change, on a line of its own.
    Esc, q (on a terminal) and Ctrl+C end it.
    Exit codes: 0 ended, and what --until waits for was reached; 1 it was not; 2 could not tell,
    or typed wrong.

    ======== history

    Tell how it went: who grew, how much room was left, when it ends; as a chart, a picture, a table

    Usage: portolan history [OPTIONS]

    Options:
          --file <FILE>  The record; without it history.db beside the journal of changes
      -h, --help         Print help

    Which part of the record:
          --since <SPAN|TIME>  From when on: a span before the last look, or a time [default: 24h]
          --until <SPAN|TIME>  Until when; without it the last look
          --by <KIND>          What is charted; destination and room: the ports left [default: total]
                               [possible values: total, state, owner, leak, descriptors, destination,
                               room, limit]
          --top <N>            So many at most, those with most; of rooms those with least left
                               [default: 6]
          --name <PATTERN>     Those of that name alone; * stands for any characters
          --diary              Ranges and reservations instead, whenever they changed

    As a picture:
          --chart <FILE>  Draw it to this file too: .svg or .png; one that is there already is refused
          --force         Replace the file of --chart

    Options of every command

    Examples:
      portolan history                                   the last 24 hours
      portolan history --by owner --since 7d --top 5
      portolan history --by destination --name '*:5432' --chart room.svg
      portolan history --since 2026-11-01 --until 2026-11-02T12:00 --format csv
      portolan history --diary                           ranges and reservations, whenever they changed

    portolan record writes the file. Spans (30m, 24h, 7d, 2w, 1y) count back from the last look; times
    are in UTC. When the room ends is told from a steady fall since the last step, with bounds of 95 %;
    steps, waves and noise are no trend, neither is a fall that came and went by itself before. Time
    without a record is a gap, not a zero.
    Exit codes: 0 fine; 1 the room ends or has ended, or a warning lasts; 2 there is no record, or typed
    wrong.

    ======== trace

    Trace failing bind, connect and listen calls, of every program, and say why

    Usage: portolan trace [OPTIONS]

    Options:
      -h, --help  Print help

    Which calls:
          --all            Those that come about too
          --pid <PID>      Of this process
          --name <NAME>    Of a program of this name; * stands for any characters
      -p, --port <PORTS>   About this port, of either end: 80, 8000-8100, 80,443
          --call <CALL>    bind, connect or listen
          --error <ERROR>  That failed so: EADDRINUSE, EADDRNOTAVAIL, 98 …

    How to trace:
          --for <SECONDS>  End after that many seconds
          --count <N>      End after that many calls
          --way <WAY>      How to see calls on Linux: bpf or tracepoints; without it the first that
                           works
          --log <FILE>     Write every line to this file too, at once; one that is there already is
                           refused
          --append         Add to the log that is there already

    Options of every command

    Examples:
      portolan trace
      portolan trace --name 'nginx*' --error EADDRNOTAVAIL --for 10
      portolan trace --call bind --count 1 --for 60
      portolan trace --all --pid 812 --json --log calls.jsonl
      portolan trace --from ports.etl                    what a Windows recorded, read anywhere

    Calls of IPv4 and IPv6. A connection that fails after its call is told when it fails, and so is
    one that the program gives up. Of calls that fail alike (same program, call, address and error)
    the first is told and the rest are counted every 10 s; JSON and CSV have each of them. It sees
    every network namespace, or that of --netns. On Linux it needs root, or CAP_BPF, CAP_PERFMON and
    a tracefs that it may read; on Windows an administrator. Not seen on Linux: sendto() without a
    bind, bind() by io_uring, and calls of 32-bit programs that fail at once. On Windows a connection
    without a bind begins with one of its own, to port 0: where ports run out it is that one that fails.
    To record on a Windows: netsh trace start provider=Microsoft-Windows-Winsock-AFD
    tracefile=ports.etl, and netsh trace stop when it has happened.
    Esc, q (on a terminal) and Ctrl+C end it.
    Exit codes: 0 ended, with the calls of --count; 1 there were fewer; 2 could not trace, or typed
    wrong.

    ======== record

    Record who uses the ports and how much room is left, for portolan history

    Usage: portolan record [OPTIONS]

    Options:
          --file <FILE>  The file; without it history.db beside the journal of changes
          --copy <FILE>  Record nothing: copy what was recorded to a new file
          --dry-run      Show what would be done, and do nothing
      -y, --yes          Do it without asking
      -h, --help         Print help

    How to record:
          --interval <SECONDS>          Seconds from one look to the next [default: 5]
          --keep <LOOKS,MINUTES,HOURS>  How long looks, minutes and hours are kept: 12h, 31d, 2y
                                        [default: 2d,31d,2y]
          --max-size <SIZE>             How large the file may become; then the oldest goes first
                                        [default: 256M]
          --no-owners                   Leave owners out; cheaper where there are many processes
          --for <SECONDS>               End after that many seconds
          --once                        Look once and end

    By the system:
          --install    Have the system record with these options, now and after each start
          --uninstall  Take that back; what was recorded stays
          --print      Print the unit, or the task, and do nothing

    Options of every command

    Examples:
      portolan record                          every 5 seconds, until Ctrl+C
      portolan record --interval 60 --for 86400
      portolan record --once                   one look, as for cron
      portolan record --copy before.db         a copy of what was recorded, also while it goes on
      portolan record --install --interval 60  by the system, from now on and after each start
      portolan history --since 24h             what came of it

    The file is SQLite's, in WAL mode. Between two looks it is whole by itself and may be copied as
    it is; --copy is whole at any moment. Looks are rolled up to minutes and hours, with their least,
    mean and most. Time in which nobody looked is a gap and no zero. A file has one recorder; another
    one is refused. While the file cannot be written (a full disk, no rights) it is tried again with
    each look, and up to 240 looks wait in memory; of a recorder that is killed these and at most the
    last look are lost.
    To take little, who holds a known socket is looked up anew within a minute, and BOUND sockets,
    where there were none, within 30 seconds.
    --install makes a unit of systemd's, or a task of Windows' Task Scheduler, with the options typed
    beside it; it shows its plan and asks first, and portolan undo takes it back.
    Exit codes: 0 ended; 1 another recorder has the file, or --install was refused; 2 it could not be
    written or looked at, or typed wrong.

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
      portolan hold 8080 --pass -- server         handed to it as systemd does: LISTEN_FDS, from
      descriptor 3 on

    Exit code 1, and nothing is held, when one of the ports cannot be had. With a command: its own exit
    code.

    ======== probe

    Ask whether ports of other hosts are open, and what speaks there

    Usage: portolan probe [OPTIONS] [HOST]...

    Arguments:
      [HOST]...  A name, an address or a block; HOST:PORT and [ADDRESS]:PORT too

    Options:
      -p, --ports <LIST>           Ports, asked in this order: 22,80-90,http,53/udp,ldap/both, or all
          --top <N>                The N ports that are met most often
          --tcp                    TCP: so it is where a port names no transport and --udp is not given
          --udp                    UDP, where a port names no transport
      -4                           IPv4 addresses of names alone
      -6                           IPv6 addresses of names alone
          --every-address          Every address of a name, and not only the first
          --profile <PROFILE>      Ask for the ports of a kind of server, and judge them: mail, news,
                                   web, proxy, dns, dc, sql, exchange, k8s-node, k8s-control-plane,
                                   file, or FILE.toml of yours
          --domain <DOMAIN>        Ask the hosts that a domain names for the profile: mail by MX, dc by
                                   SRV
          --name-server <ADDRESS>  Ask this name server for --domain, instead of the system's
          --baseline <FILE>        Tell what changed since an earlier run that was kept: portolan probe
                                   … --json > FILE
          --as <PROTOCOL>          Speak this protocol, whatever the port
          --identify               Try the likely protocols on open ports of which none is known, or
                                   that speak another one; on silent UDP ports too
          --bare                   Verdicts alone: do not talk to open TCP ports, and send empty
                                   datagrams to UDP ports
          --set <NAME=VALUE>       Something that a protocol may be told: community=secret,
                                   name=www.example.com
          --tries <N>              How often a silent UDP port is asked, at least [default: 3]
          --timeout <SECONDS>      The longest wait for one answer of a server, in seconds
          --slow                   Wait twice as long
          --rate <N>               At most that many questions a second
          --source <ADDRESS>       Ask from this address of this machine
          --source-port <PORT>     Ask from this port
          --all                    Show every port, also where many are closed or filtered
      -h, --help                   Print help

    Options of every command

    Examples:
      portolan probe db.example
      portolan probe db.example -p 5432
      portolan probe dc1 dc2 -p 53/both,88,135,389,445,3268
      portolan probe 10.0.0.0/24 -p 22,80,443
      portolan probe mail.example:25 mail.example:587
      portolan probe 10.0.0.7 --udp --top 50
      portolan probe ns1 --as dns -p 5353/udp --set name=www.example.com
      portolan probe dc1 --profile dc
      portolan probe --profile mail --domain example.com
      portolan probe dc1 --profile dc --baseline last.json

    open: something answers. closed: the host says that nobody listens. filtered: something on the way
    keeps the question or
    the answer back. open|filtered: UDP that stays silent. unreachable: no way leads there. undecided:
    nothing can be told.
    Without ports: the addresses of a host and their names, the way there, and whether it answers an
    echo request.
    A port's protocol is chosen by the services file, then by Portolan's own table; portolan explain
    PROTOCOL tells of it.
    A profile of yours is a file of TOML: title, hosts, and for each port [[port]] with port, transport,
    protocol, expect
    (answers, open, closed, filtered, not-open or any), why, and follow for an endpoint mapper whose
    ports are asked too.
    Exit codes: 0 every asked port is open (--profile: as expected; --baseline: as before); 1 some are
    not; 2 could not tell, or typed wrong.

    ======== portqry

    PortQry's own command line, output and exit codes: portolan portqry -n HOST -e 80

    Usage: portolan portqry [OPTIONS] [WORDS]...

    Arguments:
      [WORDS]...  What is typed to PortQry: -n HOST -e PORT …; -? shows all

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan portqry -n dc1 -e 389 -p both
      portolan portqry -n dc1 -o 53,88,135 -l dc1.txt -y
      portolan portqry -n web -e 80 -q
      portolan portqry -local

    portolan portqry -? tells of every option. A copy or a link of the program under the name of portqry
    does the same.
    Exit codes: 0 LISTENING; 1 NOT LISTENING; 2 FILTERED, LISTENING or FILTERED; 99 nothing was asked.

    ======== connect

    Talk to a port: type at it, as with telnet, or let a script do it

    Usage: portolan connect [OPTIONS] <HOST> <PORT>

    Arguments:
      <HOST>  A name or an address
      <PORT>  A TCP port, or a service's name

    Options:
          --tls                Encrypt from the first byte; what is wrong with the certificate is told,
                               and stops nothing
          --raw                Bytes as they are: line ends as typed, nothing of telnet
          --send <TEXT>        Send this line, and read nothing from standard input
          --expect <TEXT>      Wait until the other end says this
          --timeout <SECONDS>  How long is waited: for the connection, for each expected text, and for
                               the other end after the end of input [default: 10]
      -h, --help               Print help

    Options of every command

    Examples:
      portolan connect mail.example 25                             type; Ctrl+C or the end of input ends
      it
      portolan connect web.example 443 --tls
      portolan connect db 6379 --send PING --expect +PONG          exit code 0 when it says so
      portolan connect mail 25 --expect 220 --send 'HELO me' --expect 250 --send QUIT
      printf 'GET / HTTP/1.0\n\n' | portolan connect web.example 80

    Lines go out with the ends that internet protocols want (CR LF), and options of telnet are refused;
    --raw sends and
    shows bytes as they are. On a terminal control characters are shown and never obeyed. --send and
    --expect are done in
    the order typed; their texts know \n, \r, \t, \\ and \x1b. At the end of input the other end may
    still finish.
    Exit codes: 0 talked, and heard all that was expected; 1 refused, no answer, or not heard; 2 could
    not tell.

    ======== explain

    Explain a finding or a protocol: what it means, how it comes about, what to do

    Usage: portolan explain [OPTIONS] [RULE|PROTOCOL]

    Arguments:
      [RULE|PROTOCOL]  The rule's name, as findings show it, or a protocol's; without it all are listed

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan explain                      every rule and protocol in a line
      portolan explain held-by-process
      portolan explain dns                  what probe asks a name server, and what it may be told

    ======== snapshot

    Keep everything there is to see in a file, or what others sent, for --from

    Usage: portolan snapshot [OPTIONS] --out <FILE>

    Options:
      -o, --out <FILE>        The file to write; - writes to stdout
          --force             Replace the file if it is there already
          --import <FILE>...  Make the snapshot from text that others sent, instead of looking at this
                              machine (- reads stdin)
      -h, --help              Print help

    Options of every command

    Examples:
      portolan snapshot --out before.json
      portolan why 8080 --from before.json
      portolan snapshot --import netstat.txt netsh.txt --out osaka.json

    --import reads what these commands print, in any display language and code page, also whole console
    sessions:
      Windows: netstat -ano -anob -anobq, netsh int ipv4 show excludedportrange and dynamicport,
      tasklist /svc,
               Get-NetTCPConnection and Get-NetUDPEndpoint (table, list, Export-Csv)
      Linux:   ss -tuanp, netstat -tuanp, lsof -nP -i, cat /proc/net/tcp, sysctl

    The file holds process names and command lines: look through it before you give it away.

    ======== schema

    Print the JSON Schema of what a command gives with --json

    Usage: portolan schema [OPTIONS] [COMMAND]

    Arguments:
      [COMMAND]  The command; without it all, in one object by their names

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan schema list
      portolan schema              those of all commands in one object

    ======== completions

    Print the script that completes portolan's words in a shell

    Usage: portolan completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan completions bash > /etc/bash_completion.d/portolan
      portolan completions zsh > ~/.zfunc/_portolan
      portolan completions fish > ~/.config/fish/completions/portolan.fish

    ======== man

    Print a page of the manual, or write all of them to a directory

    Usage: portolan man [OPTIONS] [COMMAND]

    Arguments:
      [COMMAND]  Whose page; without it portolan's own

    Options:
          --out <DIRECTORY>  Write every page to this directory
      -h, --help             Print help

    Options of every command

    Examples:
      portolan man why | man -l -
      portolan man --out /usr/local/share/man/man1
    "#);
}

#[test]
fn the_command_line_is_sound() {
    Portolan::command().debug_assert();
}

#[test]
fn every_verb_that_reports_has_a_schema() {
    // These have documents, or words of their own.
    let documents = ["portqry", "schema", "completions", "man"];
    for verb in Portolan::command().get_subcommands() {
        let known = crate::command::SCHEMAS.iter().any(|(name, _)| *name == verb.get_name());
        assert!(known || documents.contains(&verb.get_name()), "{} has no schema", verb.get_name());
    }
}

#[test]
fn a_namespace_is_a_pid_or_a_name() {
    assert_eq!(namespace("812"), Ok(Namespace::Of(812)));
    assert_eq!(namespace("blue"), Ok(Namespace::Named("blue".into())));
    for text in ["", "..", "a/b"] {
        assert!(namespace(text).is_err(), "{text}");
    }
}
