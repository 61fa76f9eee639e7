//! `netsh interface ipv4|ipv6 show dynamicport tcp|udp` and `… show excludedportrange protocol=tcp|udp`: the text that
//! netsh prints, in any display language and code page.
//!
//! Source: outputs of Windows 10 and 11 (`crates/core/tests/recordings`), Microsoft's pages on netsh. Only digits, `:`,
//! `*` and lines of dashes are relied on; every other word is the display language's.
//!
//! netsh ends with code 0 and no output where something is wrong, and people cut and edit what they send. So an output
//! counts only as a whole: both functions want the frame that netsh draws around the numbers (the line of dashes, the
//! note that begins with `*`, columns that end below each other), and say what is wrong with anything else. What is left
//! unnoticed is what nobody can notice, because netsh could have printed it: another digit or a blank in the place of a
//! digit, a blank in the place of a `*`, a piece as long as a row that is missing; in `dynamicport`, whose numbers stand
//! in no column, also a digit more or less where the range stays possible, and its two lines exchanged. Who reads wants
//! that confirmed by a second listing (`crates/core/src/listing/agreement.rs`, `excluded::stands_alone`).
//!
//! Left out on purpose: the address family, which netsh does not print, and the other subcommands.

use super::malformed::Malformed;
use crate::port::PortRange;
use crate::socket::Transport;
use crate::wire::text::decoded;

/// An excluded port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// Its ports.
    pub range: PortRange,
    /// Marked with `*`: kept from automatic choice, and an explicit bind works.
    pub administered: bool,
}

/// The fewest ports that `netsh … set dynamicport` takes.
const FEWEST_PORTS: u32 = 255;
/// netsh refuses to start below 1025; 1024 is seen on systems that were set up by programs.
const LOWEST_START: u32 = 1024;
/// Where the numbers of an excluded range end, counted from the left edge of the line of dashes.
const COLUMNS: (usize, usize) = (10, 22);

/// The dynamic port range that `show dynamicport` printed. An error for anything but a line of dashes and below it two
/// lines that end in `: NUMBER`: the start and the count.
pub fn dynamic_port(output: &[u8]) -> Result<PortRange, Malformed> {
    let text = decoded(output);
    let lines = lines(&text);
    let frame = frame(&lines, 1)?;
    if let Some(line) = lines[..frame].iter().find(|line| labelled(line).is_some()) {
        return Err(Malformed::new("show dynamicport: a number above the dashes", line));
    }
    let mut below = lines[frame + 1..].iter().filter(|line| !line.trim().is_empty());
    let (Some(start), Some(count), None) = (below.next(), below.next(), below.next()) else {
        return Err(Malformed::new("show dynamicport: two lines with numbers below the dashes", &text));
    };
    let number =
        |line: &str| labelled(line).ok_or_else(|| Malformed::new("show dynamicport: a number", line));
    let (first, ports) = (number(start)?, number(count)?);
    let last = first + ports.max(1) - 1;
    let possible = first >= LOWEST_START && ports >= FEWEST_PORTS && last <= 65535;
    // A number at the very end of the text may have lost digits; a range that reaches 65535 proves that it has not.
    let whole = !text.trim_end_matches([' ', '\t']).ends_with(|c: char| c.is_ascii_digit());
    if !possible || !(whole || last == 65535) {
        return Err(Malformed::new(
            "show dynamicport: a possible start and count",
            &format!("{first}, {ports}"),
        ));
    }
    range(first, last).ok_or_else(|| Malformed::new("show dynamicport: a range", start))
}

/// The excluded ranges that `show excludedportrange` printed, in rising order; none where it printed the whole frame
/// and nothing inside. An error for anything but a line of two groups of dashes, rows of two numbers that rise, do not
/// overlap and stand below each other, and the note that begins with `*`.
pub fn excluded_ranges(output: &[u8]) -> Result<Vec<Excluded>, Malformed> {
    let text = decoded(output);
    let lines = lines(&text);
    let frame = frame(&lines, 2)?;
    if let Some(line) = lines[..frame].iter().find(|line| is_numbers(line)) {
        return Err(Malformed::new("show excludedportrange: a row above the dashes", line));
    }
    let below = &lines[frame + 1..];
    let Some(note) = below.iter().position(|line| is_note(line)) else {
        return Err(Malformed::new("show excludedportrange: its end, the note that begins with *", &text));
    };
    if let Some(line) = below[note + 1..].iter().find(|line| !line.trim().is_empty()) {
        return Err(Malformed::new("show excludedportrange: nothing more after its end", line));
    }
    let table = &below[..note];
    let count = table.iter().position(|line| line.trim().is_empty()).unwrap_or(table.len());
    if let Some(line) = table[count..].iter().find(|line| !line.trim().is_empty()) {
        return Err(Malformed::new("show excludedportrange: no gap between rows", line));
    }
    let rows = table[..count]
        .iter()
        .map(|line| Row::of(line).ok_or_else(|| Malformed::new("show excludedportrange: a row", line)))
        .collect::<Result<Vec<Row>, Malformed>>()?;
    let indent = lines[frame].len() - lines[frame].trim_start().len();
    if let Some(row) = rows.iter().position(|row| !row.stands_below(&rows, indent)) {
        return Err(Malformed::new("show excludedportrange: columns below each other", table[row]));
    }
    if let Some(at) =
        rows.windows(2).position(|pair| pair[0].excluded.range.last() >= pair[1].excluded.range.first())
    {
        return Err(Malformed::new("show excludedportrange: rows that rise", table[at + 1]));
    }
    Ok(rows.into_iter().map(|row| row.excluded).collect())
}

/// The transport that the heading names; netsh writes `tcp` or `udp` in every language. None where it names none, or
/// both.
pub fn transport(output: &[u8]) -> Option<Transport> {
    let text = decoded(output);
    let lines = lines(&text);
    let frame = lines.iter().position(|line| dashes(line) > 0)?;
    one_transport(lines[..frame].iter().copied())
}

/// The one transport that these lines name as a word of its own.
fn one_transport<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Transport> {
    let words: Vec<&str> = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric())).collect();
    let named = |transport: &Transport| words.iter().any(|word| word.eq_ignore_ascii_case(transport.name()));
    let mut named = Transport::ALL.into_iter().filter(named);
    named.next().filter(|_| named.next().is_none())
}

/// The lines of an output. CR alone ends one too: it is what is left where LF got lost.
fn lines(text: &str) -> Vec<&str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect()
}

/// Where the one line of dashes stands, in so many groups.
fn frame(lines: &[&str], groups: usize) -> Result<usize, Malformed> {
    let mut frames = lines.iter().enumerate().filter(|(_, line)| dashes(line) > 0);
    match (frames.next(), frames.next()) {
        (Some((at, line)), None) if dashes(line) == groups => Ok(at),
        (Some((_, line)), _) => Err(Malformed::new("netsh: one line of dashes", line)),
        (None, _) => {
            let first = lines.iter().find(|line| !line.trim().is_empty());
            Err(Malformed::new("netsh: a line of dashes", first.copied().unwrap_or_default()))
        }
    }
}

/// How many groups of dashes a line is made of; 0 for a line with anything else in it.
fn dashes(line: &str) -> usize {
    let groups = line.split_ascii_whitespace();
    if groups.clone().all(|group| group.len() >= 3 && group.bytes().all(|byte| byte == b'-')) {
        groups.count()
    } else {
        0
    }
}

/// The number of a line `LABEL : NUMBER`.
fn labelled(line: &str) -> Option<u32> {
    let (label, value) = line.rsplit_once(':')?;
    let plain = !label.trim().is_empty() && !label.contains(|c: char| c == ':' || c.is_ascii_digit());
    number(value.trim_matches([' ', '\t'])).filter(|_| plain)
}

/// A number of 1 to 5 digits, as netsh writes it.
fn number(digits: &str) -> Option<u32> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain && !digits.starts_with('0'))
}

fn range(first: u32, last: u32) -> Option<PortRange> {
    PortRange::new(u16::try_from(first).ok()?, u16::try_from(last).ok()?).ok()
}

/// Whether a line has digits, and nothing beside them that a row has not.
fn is_numbers(line: &str) -> bool {
    line.bytes().any(|byte| byte.is_ascii_digit())
        && line.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'\t' | b'*'))
}

/// Whether this is the note below the rows.
fn is_note(line: &str) -> bool {
    line.trim_start().starts_with('*') && !line.bytes().any(|byte| byte.is_ascii_digit())
}

/// One row, and where its parts end in the line.
struct Row {
    excluded: Excluded,
    ends: (usize, usize),
    /// Bytes before the first number.
    lead: usize,
    /// Bytes between the numbers.
    between: usize,
    /// Blanks behind a row without `*`, where a lost `*` would leave its own.
    tail: Option<usize>,
}

impl Row {
    fn of(line: &str) -> Option<Self> {
        let body = line.trim_start_matches([' ', '\t']);
        let lead = line.len() - body.len();
        let (first, rest) = body.split_once([' ', '\t'])?;
        let second = rest.trim_start_matches([' ', '\t']);
        let between = line.len() - lead - first.len() - second.len();
        let digits = second.bytes().take_while(u8::is_ascii_digit).count();
        let (second, mark) = second.split_at(digits);
        let administered = match mark.trim_matches([' ', '\t']) {
            "" => false,
            "*" if mark.starts_with([' ', '\t']) => true,
            _ => return None,
        };
        let range = range(number(first)?, number(second)?)?;
        let first_end = lead + first.len();
        Some(Self {
            excluded: Excluded { range, administered },
            ends: (first_end, first_end + between + second.len()),
            lead,
            between,
            tail: (!administered).then_some(mark.len()),
        })
    }

    /// Whether its columns stand where netsh put them, or at least where those of every other row stand. Text that lost
    /// its columns altogether, one blank or tab between the numbers of every row, is taken as well.
    fn stands_below(&self, all: &[Self], indent: usize) -> bool {
        let alike = |other: &Self| other.ends == self.ends;
        let drawn = self.ends == (indent + COLUMNS.0, indent + COLUMNS.1) || all.len() > 1;
        let packed = |row: &Self| row.lead == 0 && row.between == 1;
        let tails = all.iter().filter_map(|row| row.tail).all(|tail| self.tail.is_none_or(|own| own == tail));
        tails && (drawn && all.iter().all(alike) || all.iter().all(packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\n\
        Start Port      : 1024\r\nNumber of Ports : 13977\r\n\r\n";
    const TABLE: &str = "\r\nProtocol udp Port Exclusion Ranges\r\n\r\nStart Port    End Port\r\n\
        ----------    --------\r\n      5357        5357\r\n     50000       50059     *\r\n\r\n\
        * - Administered port exclusions.\r\n\r\n";

    fn ranges(text: &str) -> Result<Vec<(u16, u16, bool)>, Malformed> {
        let rows = excluded_ranges(text.as_bytes())?;
        Ok(rows.into_iter().map(|row| (row.range.first(), row.range.last(), row.administered)).collect())
    }

    #[test]
    fn start_and_count_become_a_range() {
        let range = dynamic_port(DYNAMIC.as_bytes()).unwrap();
        assert_eq!(range.to_string(), "1024-15000");
        assert_eq!(transport(DYNAMIC.as_bytes()), Some(Transport::Tcp));
    }

    #[test]
    fn a_start_and_count_that_netsh_would_refuse_is_an_error() {
        for (from, to) in [
            ("1024", "0"),
            ("1024", "80"),
            ("1024", "65000"),
            ("13977", "254"),
            ("13977", "0"),
            ("13977", "139770"),
        ] {
            assert!(dynamic_port(DYNAMIC.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_count_at_the_end_of_the_text_may_be_cut_unless_the_range_reaches_the_last_port() {
        let cut = DYNAMIC.trim_end();
        assert!(dynamic_port(cut.as_bytes()).is_err());
        let proven = cut.replace("1024", "49152").replace("13977", "16384");
        assert_eq!(dynamic_port(proven.as_bytes()).unwrap().to_string(), "49152-65535");
    }

    #[test]
    fn rows_become_ranges_and_a_star_is_an_administered_one() {
        assert_eq!(ranges(TABLE).unwrap(), [(5357, 5357, false), (50000, 50059, true)]);
        assert_eq!(transport(TABLE.as_bytes()), Some(Transport::Udp));
    }

    #[test]
    fn an_output_without_its_frame_is_unknown_and_never_none() {
        for text in ["", "\r\n", "The system cannot find the file specified.\r\n", "5357 5357\r\n"] {
            assert!(ranges(text).is_err(), "{text}");
            assert!(dynamic_port(text.as_bytes()).is_err(), "{text}");
        }
        assert!(ranges(&TABLE.replace("* - Administered", "Administered")).is_err());
        assert!(ranges(DYNAMIC).is_err() && dynamic_port(TABLE.as_bytes()).is_err());
    }

    #[test]
    fn a_whole_frame_without_rows_is_none() {
        let empty: String = TABLE.split_inclusive('\n').filter(|line| !is_numbers(line.trim_end())).collect();
        assert_eq!(ranges(&empty).unwrap(), []);
    }

    #[test]
    fn impossible_rows_are_errors() {
        for (from, to) in [
            ("5357        5357", "5357        5356"),
            ("5357        5357", "5357       65536"),
            ("5357        5357", "   0        5357"),
            ("5357        5357", "5357            "),
            ("5357        5357", "535l        5357"),
            ("5357        5357", "5357        5357        5358"),
            ("     50000       50059     *", "      5357        5359     *"),
            ("     50000       50059     *", "      5000        5059     *"),
            ("50059     *", "50059*"),
        ] {
            assert!(ranges(&TABLE.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_digit_that_got_lost_shows_in_the_columns() {
        assert!(ranges(&TABLE.replacen("5357        5357", "537        5357", 1)).is_err());
        assert!(
            ranges(&TABLE.replacen("     50000       50059     *\r\n", "", 1).replacen("5357 ", "537 ", 1))
                .is_err()
        );
    }

    #[test]
    fn a_text_that_lost_its_columns_is_read_where_every_row_did() {
        let packed = TABLE.replace("      5357        5357", "5357 5357");
        assert!(ranges(&packed).is_err());
        let packed = packed.replace("     50000       50059     *", "50000 50059 *");
        assert_eq!(ranges(&packed).unwrap().len(), 2);
        let indented: String = TABLE.lines().map(|line| format!("    {line}\n")).collect();
        assert_eq!(ranges(&indented), ranges(TABLE));
    }

    #[test]
    fn a_heading_with_both_transports_or_none_names_none() {
        assert_eq!(transport(b"tcp udp\n---\n"), None);
        assert_eq!(transport(b"tcpip\n---\n"), None);
        assert_eq!(transport(b"tcp"), None);
    }
}
