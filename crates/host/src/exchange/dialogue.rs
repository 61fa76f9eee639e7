//! A dialogue: one stream for a person or a script, encrypted or not, that is sent to and heard by turns.
//!
//! It stands on the same line as conversations do, and ends as a stream should: what was said is delivered first.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use portolan_core::probe::{Icmp, Refusal, Security, Via};
use socket2::SockRef;

use super::line::{Line, Seen, refusal_of};
use crate::{Error, Namespace, sys};

/// How soon a cancellation is seen.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Why a dialogue did not come about.
#[derive(Debug)]
pub enum NotBegun {
    /// The connection was refused, by the other end, on the way or here.
    Refused {
        /// What kind of refusal this is.
        refusal: Refusal,
        /// The system's words.
        error: io::Error,
        /// The ICMP error that brought it.
        icmp: Option<Icmp>,
    },
    /// Nothing came in time.
    Silent,
    /// The stream cannot be encrypted: why, for people.
    NotSecured(String),
    /// Somebody broke it off.
    Cancelled,
}

/// What came.
#[derive(Debug)]
pub enum Heard {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The other end says nothing more.
    Closed,
    /// Nothing in the time allowed.
    Nothing,
}

/// A dialogue that was begun.
pub struct Dialogue {
    line: Line,
    /// The same socket, to be waited for by whoever does not hold the dialogue.
    socket: TcpStream,
    security: Option<Security>,
    /// Nothing more will be said once all is sent.
    is_ending: bool,
}

/// Waits for a dialogue's socket without holding the dialogue.
pub struct Watch(TcpStream);

impl Watch {
    /// Waits until something comes or, where that is asked for, there is room to send.
    ///
    /// # Errors
    /// The system does not let the socket be watched.
    pub fn wait(&self, for_room: bool, limit: Duration) -> Result<(), Error> {
        let ready = sys::ready(&[(SockRef::from(&self.0), for_room)], limit);
        ready.map(drop).map_err(|source| Error::new("wait for the other end", source))
    }
}

impl Dialogue {
    /// Connects to a host at that address and, where asked for, encrypts the stream; each may take as long as the limit.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the system does not let sockets be watched.
    pub fn begin(
        namespace: &Namespace,
        host: &str,
        to: SocketAddr,
        encrypted: bool,
        limit: Duration,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Result<Self, NotBegun>, Error> {
        let refused = |error: io::Error| {
            let (refusal, _, icmp) = refusal_of(&error);
            NotBegun::Refused { refusal, error, icmp }
        };
        let mut line = match sys::within(namespace, || Line::open(Via::Tcp, None, to))? {
            Ok(line) => line,
            Err(error) => return Ok(Err(refused(error))),
        };
        let security = match await_line(&mut line, limit, cancel)? {
            Err(why) => return Ok(Err(why)),
            Ok(_) if !encrypted => None,
            Ok(_) => {
                if let Err(why) = line.encrypt(host) {
                    return Ok(Err(NotBegun::NotSecured(why)));
                }
                match await_line(&mut line, limit, cancel)? {
                    Err(why) => return Ok(Err(why)),
                    Ok(security) => security,
                }
            }
        };
        let socket = {
            let socket = line.socket().0;
            // Unlike a conversation: what was said last is delivered.
            socket.set_linger(None).and_then(|()| socket.try_clone())
        };
        match socket {
            Ok(socket) => Ok(Ok(Self { line, socket: socket.into(), security, is_ending: false })),
            Err(error) => Ok(Err(refused(error))),
        }
    }

    /// How it is encrypted.
    pub const fn security(&self) -> Option<&Security> {
        self.security.as_ref()
    }

    /// What is waited with.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn watch(&self) -> Result<Watch, Error> {
        self.socket.try_clone().map(Watch).map_err(|source| Error::new("watch the connection", source))
    }

    /// Sends; what the system does not take now goes with the next look.
    pub fn send(&mut self, bytes: &[u8]) {
        // A stream's line keeps what it cannot send; an end shows when it is read.
        let _ = self.line.send(bytes);
    }

    /// Whether something is left to be sent.
    pub fn is_full(&self) -> bool {
        self.line.socket().1
    }

    /// What has come, without waiting.
    pub fn heard(&mut self) -> Heard {
        let heard = loop {
            break match self.line.look() {
                Seen::Bytes(bytes) => Heard::Bytes(bytes),
                Seen::Closed | Seen::Refused(_) | Seen::NotSecured(_) => Heard::Closed,
                Seen::Nothing => Heard::Nothing,
                Seen::Up | Seen::Secured(_) | Seen::Datagram(..) => continue,
            };
        };
        self.shut();
        heard
    }

    fn shut(&mut self) {
        if self.is_ending && !self.is_full() {
            self.is_ending = false;
            // It may be closed already.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    /// Says, once all is sent, that nothing more will be said; what comes is still heard. An encrypted stream says it
    /// only when it hangs up: many servers take it for the end of both directions.
    pub fn finish(&mut self) {
        if !self.line.is_encrypted() {
            self.is_ending = true;
            self.shut();
        }
    }

    /// Ends it for both directions.
    pub fn hang_up(&mut self) {
        self.line.farewell();
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// Waits until the line is up or, where that was begun, encrypted.
fn await_line(
    line: &mut Line,
    limit: Duration,
    cancel: &dyn Fn() -> bool,
) -> Result<Result<Option<Security>, NotBegun>, Error> {
    let end = Instant::now() + limit;
    loop {
        match line.look() {
            Seen::Up => return Ok(Ok(None)),
            Seen::Secured(security) => return Ok(Ok(Some(security))),
            Seen::NotSecured(why) => return Ok(Err(NotBegun::NotSecured(why))),
            Seen::Closed => return Ok(Err(NotBegun::NotSecured("it closed the connection".to_owned()))),
            Seen::Refused((refusal, code, icmp)) => {
                let error = io::Error::from_raw_os_error(code);
                return Ok(Err(NotBegun::Refused { refusal, error, icmp }));
            }
            Seen::Bytes(_) | Seen::Datagram(..) => {}
            Seen::Nothing => {
                let left = end.saturating_duration_since(Instant::now());
                if cancel() {
                    return Ok(Err(NotBegun::Cancelled));
                }
                if left.is_zero() {
                    return Ok(Err(NotBegun::Silent));
                }
                sys::ready(&[line.socket()], left.min(LOOK_UP))
                    .map_err(|source| Error::new("wait for the connection", source))?;
            }
        }
    }
}
