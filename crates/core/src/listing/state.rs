//! TCP states as listings write them, in the languages that translate them.
//!
//! Source: netstat of a German Windows (its words stand in many tools that read them); `MSFT_NetTCPConnection` (numbers
//! of PowerShell's objects). The other languages' words are what their systems or their users call the states; most
//! Windows languages leave the English ones. A word that is missing here is no loss: the reader infers what the rest of
//! the row proves, and tells what it cannot.
//! Words are compared without what is not ASCII, since the code page is not known: `ABHÖREN` is `ABH?REN` in all of them.

use crate::socket::{OwnerState, State};

/// Words of one state, where they are not English.
const WORDS: [(State, &[&str]); 11] = [
    (
        State::Listen,
        &[
            "ABHÖREN",
            "LAUSCHEN",
            "ÉCOUTE",
            "À_L'ÉCOUTE",
            "ESCUCHANDO",
            "ESCUCHA",
            "OUVINDO",
            "ESCUTANDO",
            "ESCUTA",
            "IN_ASCOLTO",
            "ASCOLTO",
            "NASŁUCHIWANIE",
            "NASŁUCH",
            "LUISTEREN",
            "LUISTEREND",
            "LYSSNAR",
            "AVLYSSNING",
            "NASLOUCHÁNÍ",
            "NASLOUCHÁ",
            "DİNLENİYOR",
            "DİNLEME",
            "ПРОСЛУШИВАНИЕ",
            "СЛУШАЕТ",
            "接続待ち",
            "侦听",
            "监听",
            "接聽",
            "수신대기",
        ],
    ),
    (
        State::Established,
        &[
            "HERGESTELLT",
            "VERBUNDEN",
            "ÉTABLI",
            "ÉTABLIE",
            "CONNECTÉ",
            "ESTABLECIDO",
            "ESTABLECIDA",
            "ESTABELECIDA",
            "ESTABELECIDO",
            "STABILITO",
            "STABILITA",
            "USTANOWIONO",
            "USTANOWIONE",
            "NAWIĄZANO",
            "TOT_STAND_GEBRACHT",
            "UPPRÄTTAD",
            "ETABLERAD",
            "NAVÁZÁNO",
            "SPOJENO",
            "KURULDU",
            "BAĞLANDI",
            "УСТАНОВЛЕНО",
            "確立",
            "已建立",
            "已建立連線",
            "연결됨",
        ],
    ),
    (
        State::TimeWait,
        &[
            "WARTEND",
            "ZEIT_WARTEN",
            "ATTENTE",
            "TIEMPO_ESPERA",
            "TEMPO_ESPERA",
            "CZAS_OCZEKIWANIA",
            "OCZEKIWANIE",
        ],
    ),
    (
        State::CloseWait,
        &["SCHLIESSEN_WARTEN", "FERMETURE_ATTENTE", "ESPERA_CIERRE", "OCZEKIWANIE_ZAMKNIĘCIA"],
    ),
    (State::SynSent, &["SYN_GESENDET", "SYN_ENVOYÉ", "SYN_ENVIADO", "SYN_INVIATO", "SYN_WYSŁANO"]),
    (State::SynReceived, &["SYN_EMPFANGEN", "SYN_REÇU", "SYN_RECIBIDO", "SYN_RECEBIDO", "SYN_RICEVUTO"]),
    (State::FinWait1, &["FIN_WARTEN_1", "FIN_ATTENTE_1", "FIN_ESPERA_1"]),
    (State::FinWait2, &["FIN_WARTEN_2", "FIN_ATTENTE_2", "FIN_ESPERA_2"]),
    (State::Closing, &["SCHLIESSEND", "SCHLIESSEN", "FERMETURE", "CERRANDO", "ZAMYKANIE"]),
    (State::LastAck, &["LETZTES_ACK", "LETZTE_BESTÄTIGUNG", "DERNIER_ACK", "ÚLTIMO_ACK"]),
    (State::Bound, &["GEBUNDEN", "VINCULADO", "ASSOCIATO", "POWIĄZANO"]),
];

/// Numbers of `MSFT_NetTCPConnection.State`; 12 (DeleteTCB) is a connection that is being taken away.
const NUMBERS: [(&str, State); 13] = [
    ("1", State::Closed),
    ("2", State::Listen),
    ("3", State::SynSent),
    ("4", State::SynReceived),
    ("5", State::Established),
    ("6", State::FinWait1),
    ("7", State::FinWait2),
    ("8", State::CloseWait),
    ("9", State::Closing),
    ("10", State::LastAck),
    ("11", State::TimeWait),
    ("12", State::Closed),
    ("100", State::Bound),
];

/// The state of a word, in any of the known languages.
pub(crate) fn state(word: &str) -> Option<State> {
    let english =
        word.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'1' | b'2'));
    if english && let Ok(state) = word.parse() {
        return Some(state);
    }
    if ["DELETE_TCB", "DeleteTCB"].contains(&word) {
        return Some(State::Closed);
    }
    let known = |words: &[&str]| words.contains(&word) || words.iter().any(|known| is_same(known, word));
    WORDS.iter().find(|(_, words)| known(words)).map(|(state, _)| *state)
}

/// The state of a number, as PowerShell's objects hold it.
pub(crate) fn state_by_number(number: &str) -> Option<State> {
    NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, state)| *state)
}

/// Whether two words are the same but for what is not ASCII, of which enough is left to tell words apart.
fn is_same(known: &str, word: &str) -> bool {
    let known = folded(known);
    known.bytes().filter(u8::is_ascii_alphanumeric).count() >= 5 && known == folded(word)
}

/// A word with `?` for each run of characters that are not ASCII.
fn folded(word: &str) -> String {
    let mut folded = String::with_capacity(word.len());
    for character in word.chars() {
        match character {
            ' ' => folded.push('_'),
            _ if character.is_ascii() => folded.push(character.to_ascii_uppercase()),
            _ if folded.ends_with('?') => {}
            _ => folded.push('?'),
        }
    }
    folded
}

/// The owner state of a row without a holder in a listing that shows owners: a TIME_WAIT has none, of another state it
/// was out of sight.
pub(crate) const fn without_holder(state: State) -> OwnerState {
    match state {
        State::TimeWait => OwnerState::Nobody,
        _ => OwnerState::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn states_are_known_in_every_code_page() {
        for word in [
            "LISTENING",
            "LISTEN",
            "Listen",
            "ABHÖREN",
            "ABH\u{fffd}REN",
            "ABH™REN",
            "ABH\u{fffd}\u{fffd}REN",
            "接続待ち",
        ] {
            assert_eq!(state(word), Some(State::Listen), "{word}");
        }
        assert_eq!(state("HERGESTELLT"), Some(State::Established));
        assert_eq!(state("SYN_RECEIVED"), Some(State::SynReceived));
        assert_eq!(state("FIN_WARTEN_2"), Some(State::FinWait2));
        assert_eq!(state("FinWait1"), Some(State::FinWait1));
        assert_eq!(state("BOUND"), Some(State::Bound));
        assert_eq!(state_by_number("100"), Some(State::Bound));
    }

    #[test]
    fn other_words_are_unknown() {
        for word in ["", "????", "\u{fffd}\u{fffd}", "SLEEPING", "5", "LISTEN LISTEN", "EST\u{fffd}"] {
            assert_eq!(state(word), None, "{word}");
        }
    }

    #[test]
    fn no_word_means_two_states() {
        let mut seen: BTreeMap<String, State> = BTreeMap::new();
        for (state, words) in WORDS {
            for word in words {
                let other = seen.insert(folded(word), state);
                let short = folded(word).bytes().filter(u8::is_ascii_alphanumeric).count() < 5;
                assert!(short || other.is_none_or(|other| other == state), "{word}");
            }
        }
    }
}
