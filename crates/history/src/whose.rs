//! Whose numbers a file holds: one network namespace of one machine. Another's among them would be charted as one's own.
//!
//! A namespace is known by the name that was typed for it, and within one boot by its number (it may be typed as a
//! process id one day). One that is made anew under the old name goes on; so does that of a container that is started
//! again, which has no name. Left out on purpose: telling such nameless ones of one machine apart.

use rusqlite::{Connection, OptionalExtension as _};
use schemars::JsonSchema;
use serde::Serialize;

/// Whose numbers they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Whose {
    /// What tells machines apart (machine-id(5), Windows' MachineGuid), which is nobody else's business; none where
    /// the system has nothing of it.
    #[serde(skip)]
    pub machine: Option<String>,
    /// The machine's name.
    pub host: String,
    /// Which boot it was when a recorder began last.
    pub boot: String,
    /// The network namespace's number, which is its own in that boot.
    pub namespace: u64,
    /// How `--netns` takes that namespace; null for the recorder's own.
    pub netns: Option<String>,
}

impl Whose {
    /// Whether another recorder's numbers belong to these.
    fn is_same(&self, other: &Self) -> bool {
        let (machine, others) = (self.machine.as_ref(), other.machine.as_ref());
        if machine.zip(others).is_some_and(|(machine, other)| machine != other) {
            return false;
        }
        // The number of a process is another's after its end.
        let same_name = self.netns == other.netns && !self.is_of_process();
        same_name || (self.boot == other.boot && self.namespace == other.namespace)
    }

    fn is_of_process(&self) -> bool {
        self.netns.as_ref().is_some_and(|netns| netns.parse::<u32>().is_ok())
    }

    /// Which network namespace, in a few words.
    pub fn words(&self) -> String {
        match &self.netns {
            Some(pid) if self.is_of_process() => format!("the network namespace of process {pid}"),
            Some(name) => format!("the network namespace '{name}'"),
            None => "the network namespace that portolan itself runs in".to_owned(),
        }
    }

    /// Whose file it is, and whose would come into it.
    pub(crate) fn against(&self, other: &Self) -> String {
        match self.machine != other.machine && self.machine.is_some() && other.machine.is_some() {
            true => format!("another machine ({}) and not of this one", self.host),
            false => format!("{} and not of {}", self.words(), other.words()),
        }
    }
}

/// The table, of one row.
pub(crate) const TABLE: &str = "
CREATE TABLE whose (id INTEGER PRIMARY KEY CHECK (id = 1), machine TEXT, host TEXT NOT NULL, boot TEXT NOT NULL,
                    namespace INTEGER NOT NULL, netns TEXT);
";

/// Whose a file is; none where it was not written down.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Option<Whose>> {
    let mut statement =
        connection.prepare("SELECT machine, host, boot, namespace, netns FROM whose WHERE id = 1")?;
    let whose = |row: &rusqlite::Row<'_>| {
        Ok(Whose {
            machine: row.get(0)?,
            host: row.get(1)?,
            boot: row.get(2)?,
            namespace: row.get::<_, i64>(3)?.cast_unsigned(),
            netns: row.get(4)?,
        })
    };
    statement.query_row([], whose).optional()
}

/// Writes down whose it is from now on, where it may be; otherwise whose it is already.
pub(crate) fn settle(connection: &Connection, whose: &Whose) -> rusqlite::Result<Result<(), Whose>> {
    let before = read(connection)?;
    if let Some(before) = before.as_ref().filter(|before| !before.is_same(whose)) {
        return Ok(Err(before.clone()));
    }
    // A name lasts longer than the number of a process.
    let named = before.filter(|before| whose.is_of_process() && !before.is_of_process());
    let netns = named.map_or(whose.netns.clone(), |before| before.netns);
    let sql = "INSERT OR REPLACE INTO whose (id, machine, host, boot, namespace, netns) VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    connection
        .execute(sql, (&whose.machine, &whose.host, &whose.boot, whose.namespace.cast_signed(), netns))?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(machine: &str, boot: &str, namespace: u64, netns: Option<&str>) -> Whose {
        Whose {
            machine: Some(machine.to_owned()).filter(|machine| !machine.is_empty()),
            host: "web1".to_owned(),
            boot: boot.to_owned(),
            namespace,
            netns: netns.map(str::to_owned),
        }
    }

    #[test]
    fn a_namespace_is_the_same_by_its_name_or_within_a_boot_by_its_number() {
        let blue = whose("m", "one", 1, Some("blue"));
        for (other, same) in [
            (whose("m", "one", 1, Some("blue")), true),
            // Made anew, and after a start of the machine.
            (whose("m", "one", 2, Some("blue")), true),
            (whose("m", "two", 9, Some("blue")), true),
            // By a process in it.
            (whose("m", "one", 1, Some("812")), true),
            (whose("m", "two", 1, Some("812")), false),
            (whose("m", "one", 2, Some("green")), false),
            (whose("m", "one", 2, None), false),
            (whose("n", "one", 1, Some("blue")), false),
            (whose("", "two", 3, Some("blue")), true),
        ] {
            assert_eq!(blue.is_same(&other), same, "{other:?}");
            assert_eq!(other.is_same(&blue), same, "{other:?}");
        }
        let process = whose("m", "one", 1, Some("812"));
        assert!(!process.is_same(&whose("m", "one", 2, Some("812"))), "another process has that number now");
        let own = whose("m", "one", 1, None);
        assert!(own.is_same(&whose("m", "one", 2, None)) && own.is_same(&whose("m", "two", 1, None)));
    }
}
