//! Text listings of sockets, as netstat and its like print them: what the readers of [`crate::import`] share.
//!
//! A pasted console session is cut at its prompts into sections; a reader gets what is left of a section and says how
//! many lines of it were its own.

pub(crate) mod agreement;
pub(crate) mod columns;
pub(crate) mod endpoint;
pub(crate) mod gathering;
pub(crate) mod session;
pub(crate) mod state;

/// The longest line that is looked at, in bytes; a longer one is told as not understood.
const LONGEST_LINE: usize = 64 << 10;

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Without its line break; empty where it was longer than [`LONGEST_LINE`].
    pub(crate) text: &'a str,
    /// Whether a line break follows: without one it may be cut.
    pub(crate) ended: bool,
}

impl Line<'_> {
    /// Whether there is nothing on it.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// The lines of a text; how many of them were too long comes with them.
pub(crate) fn lines(text: &str) -> (Vec<Line<'_>>, usize) {
    let mut too_long = 0;
    let lines = text.split_inclusive('\n').enumerate().map(|(index, line)| {
        let text = line.trim_end_matches(['\r', '\n']);
        let fits = text.len() <= LONGEST_LINE;
        too_long += usize::from(!fits);
        Line { number: index + 1, text: if fits { text } else { "" }, ended: line.ends_with('\n') }
    });
    (lines.collect(), too_long)
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file's name, without its folder.
    pub(crate) file: &'a str,
    /// What was typed before this section, where the text shows it.
    pub(crate) command: Option<&'a str>,
    /// Whether the section starts here.
    pub(crate) starts: bool,
    /// Lines of the section right above that no reader took: headings.
    pub(crate) above: &'a [Line<'a>],
    /// From here to the section's end; at least one.
    pub(crate) lines: &'a [Line<'a>],
}

impl<'a> Place<'a> {
    /// The line here.
    pub(crate) fn here(&self) -> &'a str {
        self.lines.first().map_or("", |line| line.text)
    }

    /// Whether the command that was typed holds this word.
    pub(crate) fn typed(&self, word: &str) -> bool {
        self.command.is_some_and(|command| {
            command.split([' ', '\t', '=', '|', '\\', '/']).any(|typed| {
                let typed = typed.strip_suffix(".exe").unwrap_or(typed);
                typed.eq_ignore_ascii_case(word)
            })
        })
    }
}
