//! Which call a line names, by the words that programs use for it.

use super::Call;

/// Words in lower case and the call they name; the first that a line has decides. Connections stand before binds,
/// because "could not connect" often goes on about a server that should listen.
const WORDS: &[(Call, &[&str])] = &[
    // PHP opens listeners with a message that says "connect".
    (Call::Bind, &["stream_socket_server"]),
    (Call::Dial, &["dial tcp", "dial udp", "dial4", "dialing ", "dial:"]),
    (
        Call::Connect,
        &[
            "connect()",
            "connect(2)",
            "connect(",
            "connect:",
            "connectex",
            "connect e",
            ": connect",
            "connect_to",
            "syscall: 'connect'",
            "\"syscall\":\"connect\"",
            "connect call failed",
            "connect failed",
            "connect error",
            "failed to connect",
            "couldn't connect",
            "could not connect",
            "can't connect",
            "cannot connect",
            "unable to connect",
            "error connecting",
            "connecting to",
            "connection to",
            "connect to",
            "connection error",
            "was refused",
            "actively refused",
            "connection refused",
            "connectexception",
            "connectionrefusederror",
            "connect0(",
            "socketconnect(",
            "open tcp connection",
            "new connection",
            "create_connection(",
        ],
    ),
    (
        Call::Bind,
        &[
            "bind:",
            "bind(",
            "bind ",
            "binding",
            "bind0(",
            "socketbind(",
            "make_sock",
            "bindexception",
            "bind_",
            "error: bind",
            "port is already allocated",
            "create_server(",
        ],
    ),
    (
        Call::Listen,
        &[
            "listen tcp",
            "listen udp",
            "listen e",
            "listen(",
            "listen:",
            "'listen'",
            "\"listen\"",
            "to listen",
            "not listen",
            "t listen",
            "listening socket",
            "listening on",
            "listening_",
            "failed_listen",
            "listener",
        ],
    ),
];

/// A program's own words for a port that is taken, in lower case.
const IN_USE: &[&str] = &[
    "already in use",
    "is in use",
    "connection in use",
    "in use by",
    "already allocated",
    "already being used",
    "already used",
    "already running on port",
    "conflicts with an existing registration",
    "did not register the url prefix",
    "cannot listen",
    "failed to listen",
    "failed to bind",
    "could not bind",
    "cannot bind",
    "unable to bind",
    "failed to start",
    "belegt",
    "wird bereits",
    "déjà utilisé",
    "est utilisé",
    "en uso",
    "em uso",
    "in uso",
    "使用されて",
    "使用中",
    "占用",
    "사용 중",
    "используется",
    "занят",
];

/// The call that a line names. `lower` is the line in lower case.
pub(super) fn named(lower: &str) -> Call {
    WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| lower.contains(word)))
        .map_or(Call::Unknown, |(call, _)| *call)
}

/// Whether a line says in a program's own words that a port is taken or can't be served.
pub(super) fn says_in_use(lower: &str) -> bool {
    IN_USE.iter().any(|words| lower.contains(words))
}
