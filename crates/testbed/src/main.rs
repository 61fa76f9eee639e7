//! The program `testbed`: holds sockets in every way that tests need, and enters a network namespace for them.

mod enter;
mod hold;
mod sockets;
mod until_refused;
mod words;

use std::env;
use std::io::{self, Read};
use std::process::ExitCode;

const USAGE: &str = "\
testbed hold [--uid N] [--name NAME] [--ignore-sigterm] WORD ADDR:PORT [OPTION]… [WORD ADDR:PORT [OPTION]…]…
    holds sockets, prints a line of JSON for each word and then 'ready', and waits until standard input ends

    tcp-listen    a listener            --backlog N, --accept (take every connection), --workers N (share it)
    tcp-bound     bound, not listening
    udp           a UDP socket          --connect ADDR:PORT
    connections   a listener with connections to it, both ends held here
                  --from ADDR:PORT, --close-listener, --as-client (the listener is someone else's),
                  --connect ADDR:PORT (where the listener is reached)
    time-wait     a TIME_WAIT at that address     --closed-by server|client (whose address it is; default server),
                  --connect ADDR:PORT (where the server listens)
    syn-sent      a connection to that address, which must not answer
    close-wait    a listener whose peers have closed and it has not     --close-listener

    each word     --count N, --reuseaddr, --reuseport, --v6only, --dual, --freebind,
                  --no-port (IP_BIND_ADDRESS_NO_PORT: the port of --from ADDR:0 is left to connect)

testbed until-refused tcp-connect|udp-connect ADDR:0 ADDR:PORT | tcp-bind|udp-bind ADDR:0
    makes the same call over and over, keeps every socket, and says how often it succeeded and what refused it

testbed enter NETNS-FILE [--bind FOLDER FOLDER]… [--uid N] PROGRAM [ARGUMENT]…
    runs a program inside a network namespace; for it alone the first folder of a pair lies over the second

testbed refuse-bind PROGRAM [ARGUMENT]…
    runs a program whose every bind is refused with EPERM, as by a security policy";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((verb, rest)) if verb == "hold" => hold::hold(rest),
        Some((verb, rest)) if verb == "enter" => enter::enter(rest),
        Some((verb, [program, rest @ ..])) if verb == "refuse-bind" => refuse_bind(program, rest),
        Some((verb, rest)) if verb == "until-refused" => until_refused::until_refused(rest),
        Some((verb, [])) if verb == hold::WORKER => hold::work(),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Waits until whoever started this is gone or has closed our standard input.
fn wait_for_end() -> anyhow::Result<()> {
    io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink())?;
    Ok(())
}

fn refuse_bind(program: &str, arguments: &[String]) -> anyhow::Result<()> {
    portolan_testbed::refuse_bind()?;
    enter::become_program(program, arguments, None)
}
