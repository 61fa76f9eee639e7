//! The pages of help of ranges, and of the room in them.

use super::pages;

pub(super) const VERBS: &[&str] = &["range", "reserve", "budget"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
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
      portolan reserve                             what is reserved, by whom, and who listens there
      portolan reserve add 5432 8000-8100 --why postgres
      portolan reserve remove 5432
      portolan reserve suggest                     listeners whose port a client could be given

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
    range, with the reason. --from takes a snapshot file, as everywhere; an address after --from is
    taken for --source.
    Exit codes: 0 fine; 1 something runs out, or --try found no port; 2 could not tell, or no way there.
    "#);
}
