//! `record --install`, `--uninstall`: the recorder that the system starts, as a plan like every other change.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use portolan_core::change::plan_set_up;
use portolan_host::{Namespace, sys};

use super::{Record, typed};
use crate::changing::{self, nothing_changed};
use crate::command::Output;
use crate::exit::{Misuse, Refused};
use crate::source::Session;

/// Sets it up, takes it away, or prints what would be set up.
pub(super) fn run(record: &Record, session: &Session) -> Result<Output> {
    if *session.namespace() != Namespace::Own {
        let why = "the system starts a recorder in its own network namespace: leave --netns out";
        return Err(Misuse(why.into()).into());
    }
    if record.uninstall {
        let effects = vec!["what was recorded stays where it is".to_owned()];
        return change(record, session, "record --uninstall", None, effects);
    }
    let (file, folder) = place(record, session)?;
    let arguments = arguments(record, &file)?;
    let text = sys::recorder_text(&arguments, &folder).map_err(nothing_changed)?;
    if record.print {
        return Ok(Output::Document(Box::new(move |out| out.write_all(text.as_bytes()))));
    }
    sys::recorder_can_be_set_up().map_err(nothing_changed)?;
    let own = session.journal()?.folder().to_owned();
    if !folder.is_dir() && folder != own {
        return Err(Refused(format!("there is no folder {}; make it first", folder.display())).into());
    }
    let reads =
        if file == session.history()? { String::new() } else { format!(" --file {}", file.display()) };
    let effects = vec![
        format!("it runs: portolan {}", arguments.join(" ")),
        format!(
            "portolan history{reads} tells what came of it; with --print this shows the whole of what is made"
        ),
    ];
    change(record, session, "record --install", Some(text), effects)
}

fn change(
    record: &Record,
    session: &Session,
    title: &str,
    wanted: Option<String>,
    effects: Vec<String>,
) -> Result<Output> {
    let now = sys::recorder_now().map_err(nothing_changed)?;
    // Of one that is replaced, what differs is told.
    let effects = if wanted.is_some() && now.set_up.is_some() { Vec::new() } else { effects };
    let here = sys::place(session.namespace())?;
    let plan = plan_set_up((&sys::recorder_place(), &now), wanted, effects, (title, here));
    Ok(Output::Report(changing::change(session, &record.consent, &plan)?))
}

/// The recorder's file and its folder, wherever this was typed.
fn place(record: &Record, session: &Session) -> Result<(PathBuf, PathBuf)> {
    let file = match &record.file {
        Some(file) => file.clone(),
        None => session.history()?,
    };
    let file =
        std::path::absolute(&file).with_context(|| format!("cannot tell where {} is", file.display()))?;
    let folder = file.parent().map(Path::to_owned);
    let folder =
        folder.ok_or_else(|| Misuse(format!("{} is no file; name one with --file", file.display())))?;
    Ok((file, folder))
}

/// What the recorder is started with: each option by its value, so that it stays as it is whatever later becomes usual.
fn arguments(record: &Record, file: &Path) -> Result<Vec<String>, Misuse> {
    let shown = file.to_str();
    let file =
        shown.ok_or_else(|| Misuse(format!("{} is no text; choose a plainer path", file.display())))?;
    let interval = record.interval.as_secs_f64().to_string();
    let (keep, size) = (typed::keep_text(&record.keep), typed::size_text(record.max_size));
    let mut arguments: Vec<String> =
        ["record", "--interval", &interval, "--keep", &keep, "--max-size", &size].map(str::to_owned).into();
    if record.no_owners {
        arguments.push("--no-owners".into());
    }
    arguments.extend(["--file".to_owned(), file.to_owned()]);
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Portolan, Verb};

    fn record(words: &str) -> Record {
        let words = ["portolan", "record"].into_iter().chain(words.split_whitespace());
        let Some(Verb::Record(record)) = Portolan::try_parse_from(words).unwrap().verb else {
            panic!("record")
        };
        record
    }

    #[test]
    fn what_was_typed_is_what_the_recorder_is_started_with() {
        for (typed, expected) in [
            ("", "record --interval 5 --keep 2d,31d,2y --max-size 256M --file /h.db"),
            (
                "--interval 0.5 --keep 36h,8w,3y --max-size 2g --no-owners",
                "record --interval 0.5 --keep 36h,56d,3y --max-size 2G --no-owners --file /h.db",
            ),
        ] {
            let arguments = arguments(&record(&format!("--install {typed}")), Path::new("/h.db")).unwrap();
            assert_eq!(arguments.join(" "), expected);
            // And it means the same.
            let again = record(&arguments[1..].join(" "));
            let same = record(typed);
            assert_eq!(
                (again.interval, again.keep, again.max_size, again.no_owners),
                (same.interval, same.keep, same.max_size, same.no_owners)
            );
        }
    }
}
