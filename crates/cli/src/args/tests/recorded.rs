//! The pages of help of what happens over time.

use super::pages;

pub(super) const VERBS: &[&str] = &["history", "trace", "record"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
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
    every network namespace, or that of --netns; what to type is written for the caller's. Why a call
    failed is looked up a moment later: "is" tells what is so then, "was" what the call itself proves.
    On Linux it needs root, or CAP_BPF, CAP_PERFMON and a tracefs that it may read; on Windows an
    administrator. Not seen on Linux: sendto() without a bind, bind() by io_uring, calls of 32-bit
    programs that fail at once, and connect() to where the socket is connected already (EISCONN), by
    which programs ask whether it is. On Windows a connection without a bind begins with one of its
    own, to port 0: where ports run out it is that one that fails.
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
    mean and most. Time in which nobody looked is a gap and no zero. A file has one recorder, and is of
    one network namespace of one machine; another one is refused. While the file cannot be written (a
    full disk, no rights) it is tried again with each look, and up to 240 looks wait in memory; of a
    recorder that is killed these and at most the last look are lost.
    To take little, who holds a known socket is looked up anew within a minute, and BOUND sockets,
    where there were none, within 30 seconds.
    --install makes a unit of systemd's, or a task of Windows' Task Scheduler, with the options typed
    beside it; it shows its plan and asks first, and portolan undo takes it back.
    Exit codes: 0 ended; 1 another recorder has the file, or --install was refused; 2 it could not be
    written or looked at, or typed wrong.
    "#);
}
