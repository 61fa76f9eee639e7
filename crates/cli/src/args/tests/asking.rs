//! The pages of help of what asks other hosts.

use super::pages;

pub(super) const VERBS: &[&str] = &["probe", "portqry", "connect"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
    ======== probe

    Ask whether ports of other hosts are open, and what speaks there

    Usage: portolan probe [OPTIONS] [HOST]...

    Arguments:
      [HOST]...  A name, an address or a block; HOST:PORT and [ADDRESS]:PORT too

    Options:
      -p, --ports <LIST>           Ports, asked in this order: 22,80-90,http,53/udp,ldap/both, or all
          --top <N>                The N ports that are met most often: up to 222 of TCP, 104 of UDP
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

    open: something answers. closed: the host says that nobody listens. filtered: something on the
    way keeps the question or the answer back. open|filtered: UDP that stays silent. unreachable: no
    way leads there. undecided: nothing can be told.
    Without ports: the addresses of a host and their names, the way there, and whether it answers an
    echo request; with --baseline the ports of the earlier run.
    A port's protocol is chosen by the services file, then by Portolan's own table; portolan explain
    PROTOCOL tells of it, and of what may be set.
    A profile of yours is a file of TOML: title, hosts, and for each port [[port]] with port,
    transport, protocol, expect (answers, open, closed, filtered, not-open or any), why, and follow
    for an endpoint mapper whose ports are asked too.
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

    portolan portqry -? tells of every option. A copy or a link of the program under the name of
    portqry does the same.
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
                               all that comes after the end of input [default: 10]
      -h, --help               Print help

    Options of every command

    Examples:
      portolan connect mail.example 25                       type; Ctrl+C or the end of input ends it
      portolan connect web.example 443 --tls
      portolan connect db 6379 --send PING --expect +PONG    exit code 0 when it says so
      portolan connect mail 25 --expect 220 --send 'HELO me' --expect 250 --send QUIT
      printf 'GET / HTTP/1.0\n\n' | portolan connect web.example 80

    Lines go out with the ends that internet protocols want (CR LF), and options of telnet are refused;
    --raw sends and shows bytes as they are. On a terminal control characters are shown and never
    obeyed. --send and --expect are done in the order typed; their texts know \n, \r, \t, \\ and
    \x1b. After the end of input, or the last --send, the other end may still finish; --timeout says
    within how long in all.
    Exit codes: 0 talked, and heard all that was expected; 1 refused, no answer, or not heard to the
    end; 2 could not tell.
    "#);
}
