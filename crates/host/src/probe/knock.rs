//! An empty datagram to a UDP port whose protocol nobody knows: whether anything comes back.

use portolan_core::probe::{Event, Session, Step};

/// The conversation.
pub(super) struct Knock;

impl Session for Knock {
    fn hello(&mut self) -> Step {
        Step::Send(Vec::new())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        Step::failed(match event {
            Event::Bytes { data, .. } => format!("it answers with {} bytes", data.len()),
            _ => "no answer".to_owned(),
        })
    }
}
