//! RabbitMQ, the broker of AMQP 0-9-1, with everything it keeps in a folder of its own.
//!
//! Source: rabbitmq-server(8), RabbitMQ's guide to its environment variables, epmd(1). Debian's /usr/sbin/rabbitmq-server becomes
//! another user and writes below /var: the program behind it is run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// RabbitMQ on TCP 5672, without plugins.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn rabbitmq(namespace: &Namespace) -> Server {
    let site = Site::new("rabbitmq");
    site.folder("home");
    site.write("plugins", "[].");
    let mut command = site.command(namespace, &installed("sh", "dash"));
    // Erlang's own list of ports would start as a daemon, and stay.
    command.args(["-c", "epmd & until epmd -names; do sleep 0.02; done >&- 2>&-; exec \"$0\""]);
    command.arg(program("rabbitmq-server"));
    environment(&mut command, &site.path(""));
    site.start(namespace, command, &Ready::Listens(5672))
}

/// `rabbitmqctl` for that broker.
///
/// # Panics
/// Where it is not installed.
#[track_caller]
pub fn rabbitmqctl(namespace: &Namespace, server: &Server) -> Command {
    let mut command = namespace.command(program("rabbitmqctl"));
    environment(&mut command, &server.path(""));
    command
}

fn environment(command: &mut Command, folder: &std::path::Path) {
    command.env("HOME", folder.join("home")).env("RABBITMQ_NODENAME", "lab@localhost");
    for (name, place) in [
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "logs"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ("RABBITMQ_CONFIG_FILE", "none"),
        ("RABBITMQ_FEATURE_FLAGS_FILE", "features"),
        ("RABBITMQ_PID_FILE", "pid"),
    ] {
        command.env(name, folder.join(place));
    }
    // One processor, which does not spin while it waits.
    command.env("RABBITMQ_LOGS", "-").env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
    command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none");
}

/// A program of RabbitMQ itself, in a folder that has its version in its name.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
    let found = versions.map(|entry| entry.path().join("sbin").join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("the program '{name}' is missing: run `apt-get install rabbitmq-server`"))
}
