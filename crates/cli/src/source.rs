//! Where facts come from: a look at this machine, or a snapshot file (`--from`). The one place that knows the host.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use portolan_core::diagnose::{Question, Trial};
use portolan_core::kernel::services::Services;
use portolan_core::remedy;
use portolan_core::snapshot::{Snapshot, System};
use portolan_core::snapshot_file;
use portolan_host::journal::Journal;
use portolan_host::{Look, Namespace, sys};

use crate::changing;
use crate::exit::Misuse;

/// Where a run of the program takes its facts from.
#[derive(Clone)]
pub(crate) struct Session {
    from: Option<PathBuf>,
    namespace: Namespace,
    services: OnceCell<Arc<Services>>,
    reminder: OnceCell<Option<String>>,
}

impl Session {
    /// A session that reads this file, or else looks at that network namespace of this machine.
    pub(crate) fn new(from: Option<PathBuf>, namespace: Namespace) -> Self {
        Self { from, namespace, services: OnceCell::new(), reminder: OnceCell::new() }
    }

    /// What is to be seen: the whole file, or what the look asks of this machine. A command that wants part of the
    /// sockets filters what it gets: a file holds them all.
    pub(crate) fn see(&self, look: Look) -> Result<Arc<Snapshot>> {
        let snapshot = match &self.from {
            Some(path) => read(path)?,
            None => {
                self.remember();
                portolan_host::look(&Look { namespace: self.namespace.clone(), ..look })?
            }
        };
        Ok(Arc::new(snapshot))
    }

    /// What is to be seen of another network namespace of this machine.
    pub(crate) fn see_in(&self, namespace: &Namespace, look: Look) -> Result<Arc<Snapshot>> {
        Ok(Arc::new(portolan_host::look(&Look { namespace: namespace.clone(), ..look })?))
    }

    /// Bind trials of a question; none where a file speaks, since no kernel can be asked then.
    pub(crate) fn try_bind(&self, question: &Question, seen: &Snapshot) -> Result<Vec<Trial>> {
        match self.from {
            Some(_) => Ok(Vec::new()),
            None => Ok(portolan_host::bind::trial(&self.namespace, question, seen)?),
        }
    }

    /// A command to type for the network namespace that is looked at.
    pub(crate) fn in_place(&self, command: String) -> String {
        let netns = self.namespace.typed();
        remedy::in_place(netns.as_deref(), command.clone()).unwrap_or(command)
    }

    /// The network namespace that is looked at and changed.
    pub(crate) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Refuses where a file speaks: a file can be neither changed nor asked how it will be after a restart.
    pub(crate) fn needs_machine(&self, verb: &str) -> Result<(), Misuse> {
        match self.from {
            None => Ok(()),
            Some(_) => Err(Misuse(format!(
                "{verb} speaks of this machine: leave --from out (portolan --from FILE charts the snapshot)"
            ))),
        }
    }

    /// The journal of changes.
    pub(crate) fn journal(&self) -> Result<Journal> {
        changing::journal(|name| std::env::var_os(name), Self::own_of_system())
    }

    /// The recorder's file, where none is named: beside the journal.
    pub(crate) fn history(&self) -> Result<PathBuf> {
        Ok(self.journal()?.folder().join("history.db"))
    }

    /// The system's folder, for those who write there.
    fn own_of_system() -> Option<PathBuf> {
        sys::is_administrator().then(sys::system_journal).flatten()
    }

    /// Every journal that may tell of this machine: the own one, and the system's beside that of a user.
    pub(crate) fn journals(&self) -> Vec<Journal> {
        let mut journals: Vec<Journal> = self.journal().into_iter().collect();
        let others = sys::system_journal().filter(|_| !self.journal_is_given());
        let others = others.filter(|folder| journals.iter().all(|own| own.folder() != folder));
        journals.extend(others.map(Journal::new));
        journals
    }

    /// Whether the journal's folder was named (PORTOLAN_STATE).
    pub(crate) fn journal_is_given(&self) -> bool {
        changing::journal_is_given()
    }

    /// What a plan has left stopped, as it stood when this machine was first looked at.
    pub(crate) fn reminder(&self) -> Option<&str> {
        self.reminder.get()?.as_deref()
    }

    /// No plan on Linux stops anything that it starts again.
    fn remember(&self) {
        self.reminder.get_or_init(|| {
            let here = sys::place(&self.namespace).ok().filter(|_| sys::SYSTEM == System::Windows)?;
            changing::reminder(&self.journals(), &here)
        });
    }

    /// The file that speaks instead of this machine.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.from.as_deref()
    }

    /// Whether a file speaks instead of this machine.
    pub(crate) const fn is_file(&self) -> bool {
        self.from.is_some()
    }

    /// The id of a user of this machine, by name or number.
    pub(crate) fn uid_of(&self, user: &str) -> Result<u32> {
        Ok(sys::user(user)?.uid)
    }

    /// Service names, read once and only where they are shown.
    pub(crate) fn services(&self) -> Arc<Services> {
        Arc::clone(self.services.get_or_init(|| Arc::new(sys::services())))
    }
}

/// The snapshot of a file; - reads stdin.
pub(crate) fn read(path: &Path) -> Result<Snapshot> {
    let shown = path.display();
    let snapshot = if path == Path::new("-") {
        snapshot_file::read(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| {
            Misuse(format!(
                "cannot open {shown}: {error}; make a snapshot with: portolan snapshot --out FILE"
            ))
        })?;
        snapshot_file::read(BufReader::with_capacity(1 << 18, file))
    };
    snapshot.with_context(|| format!("cannot read the snapshot {shown}"))
}
